/** The encoders of this machine as one back end, in the order of a preference list. */
import { errorText } from "../../common/error-text.ts";
import {
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderListener,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import {
  LIBAVCODEC_ENCODERS,
  LibavcodecBackend,
  type LibavcodecEncoderName,
  type LibavcodecOptions,
} from "./libavcodec.ts";
import { NullBackend } from "./null.ts";
import { VideoToolboxBackend } from "./videotoolbox.ts";

/** The names in a preference list. */
export type EncoderName = "videotoolbox" | LibavcodecEncoderName | "null";

/** All names. `null` encodes nothing, so it is only used when configured. */
export const ENCODER_NAMES: readonly EncoderName[] = ["videotoolbox", ...LIBAVCODEC_ENCODERS, "null"];

/** Without configuration. The same on every system, as encoders that do not open are skipped. */
export const DEFAULT_ENCODERS: readonly EncoderName[] = ["videotoolbox", ...LIBAVCODEC_ENCODERS];

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
  options: LibavcodecOptions = {},
): PreferredBackend {
  const backends = preference.map((name) => {
    if (name === "null") return new NullBackend();
    return name === "videotoolbox" ? new VideoToolboxBackend(options) : new LibavcodecBackend(name, options);
  });
  return new PreferredBackend(backends);
}

/** Several back ends as one: all their offers in order; `open` uses the first that succeeds. */
export class PreferredBackend implements EncoderBackend {
  readonly name = "preferred";
  readonly #backends: readonly EncoderBackend[];

  constructor(backends: readonly EncoderBackend[]) {
    this.#backends = backends;
  }

  async offers(): Promise<readonly EncoderOffer[]> {
    return (await Promise.all(this.#backends.map((backend) => backend.offers()))).flat();
  }

  /** @throws EncoderUnavailableError with the reason of each back end. */
  async open(configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession> {
    const rejections: string[] = [];
    const absences: string[] = [];
    for (const backend of this.#backends) {
      // An encoder that failed its probe is not tried again for every stream.
      if ((await backend.offers()).length === 0) {
        absences.push(`${backend.name}: ${backend.unavailable ?? "no encoder opens"}`);
        continue;
      }
      try {
        return await backend.open(configuration, listener);
      } catch (error) {
        rejections.push(`${backend.name}: ${errorText(error)}`);
      }
    }
    const { codec, width, height } = configuration;
    // The wire has room for one or two reasons: the ones that another configuration avoids come first.
    const reasons = [...rejections, ...absences];
    throw new EncoderUnavailableError(
      `no encoder for ${codec} ${width}x${height}: ${reasons.join("; ") || "none is configured"}`,
    );
  }
}
