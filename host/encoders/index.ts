/** The encoders of this machine as one back end, in the order of a preference list. */
import type {
  EncoderBackend,
  EncoderConfiguration,
  EncoderListener,
  EncoderOffer,
  EncoderSession,
} from "./encoder.ts";
import { FallbackSession } from "./fallback-session.ts";
import {
  LIBAVCODEC_ENCODERS,
  LibavcodecBackend,
  type LibavcodecEncoderName,
  type LibavcodecOptions,
} from "./libavcodec.ts";
import { NullBackend } from "./null.ts";
import { EncoderOrder, type OrderOptions } from "./order.ts";
import { VideoToolboxBackend } from "./videotoolbox.ts";

/** The names in a preference list. */
export type EncoderName = "videotoolbox" | LibavcodecEncoderName | "null";

/** All names. `null` encodes nothing, so it is only used when configured. */
export const ENCODER_NAMES: readonly EncoderName[] = ["videotoolbox", ...LIBAVCODEC_ENCODERS, "null"];

/** Without configuration. The same on every system, as encoders that do not work are skipped. */
export const DEFAULT_ENCODERS: readonly EncoderName[] = ["videotoolbox", ...LIBAVCODEC_ENCODERS];

/** NVIDIA's driver supports no more. */
export const MAX_NVIDIA_GPUS = 32;

/** Whether a preference list may include the name. */
export function isEncoderName(name: string): name is EncoderName {
  return (ENCODER_NAMES as readonly string[]).includes(name);
}

/**
 * A back end of the named encoders, best first.
 *
 * @throws RangeError for an option out of range.
 */
export function createBackend(
  preference: readonly EncoderName[] = DEFAULT_ENCODERS,
  options: LibavcodecOptions & OrderOptions = {},
): PreferredBackend {
  const backends = preference.map((name) => {
    if (name === "null") return new NullBackend();
    return name === "videotoolbox" ? new VideoToolboxBackend(options) : new LibavcodecBackend(name, options);
  });
  return new PreferredBackend(backends, options);
}

/** Several back ends as one: all their offers in order, and sessions that change to the next when one fails. */
export class PreferredBackend implements EncoderBackend {
  readonly name = "preferred";
  readonly #backends: readonly EncoderBackend[];
  readonly #order: EncoderOrder;

  /** @param backends best first */
  constructor(backends: readonly EncoderBackend[], options: OrderOptions = {}) {
    this.#backends = backends;
    this.#order = new EncoderOrder(backends, options);
  }

  async offers(): Promise<readonly EncoderOffer[]> {
    return (await Promise.all(this.#backends.map((backend) => backend.offers()))).flat();
  }

  /** @throws EncoderUnavailableError with the reason of each back end. */
  async open(configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession> {
    // One probe for all.
    await this.offers();
    return await FallbackSession.open(this.#order, configuration, listener);
  }
}
