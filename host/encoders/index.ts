/** The encoders of this machine as one back end, in the order of a preference list. */
import { errorText } from "../../common/error-text.ts";
import {
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderEvents,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import { LibavcodecBackend, type LibavcodecOptions } from "./libavcodec.ts";
import { LIBAVCODEC_ENCODERS, type LibavcodecEncoderName } from "./libavcodec-profiles.ts";
import { NullBackend } from "./null.ts";
import { VideoToolboxBackend } from "./videotoolbox.ts";

/** What a preference list may name. */
export type EncoderName = "videotoolbox" | LibavcodecEncoderName | "null";

/** Every name there is; `null` encodes nothing, so it is only used when asked for. */
export const ENCODER_NAMES: readonly EncoderName[] = ["videotoolbox", ...LIBAVCODEC_ENCODERS, "null"];

/** Used where nothing else is configured; the same on every system, as what does not open is passed over. */
export const DEFAULT_ENCODERS: readonly EncoderName[] = ["videotoolbox", ...LIBAVCODEC_ENCODERS];

/** Whether a name from a configuration file can stand in a preference list. */
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
  return new PreferredBackend(preference.map((name) => backendOf(name, options)));
}

function backendOf(name: EncoderName, options: LibavcodecOptions): EncoderBackend {
  switch (name) {
    case "null":
      return new NullBackend();
    case "videotoolbox":
      return new VideoToolboxBackend(options);
    default:
      return new LibavcodecBackend(name, options);
  }
}

/** Several back ends as one: what they offer, in order, and the first that opens. */
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
  async open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession> {
    const refusals: string[] = [];
    const absences: string[] = [];
    for (const backend of this.#backends) {
      // A driver that has failed once is not tried again for every stream.
      if ((await backend.offers()).length === 0) {
        absences.push(`${backend.name}: ${backend.unavailable ?? "it offers nothing"}`);
        continue;
      }
      try {
        return await backend.open(configuration, events);
      } catch (error) {
        refusals.push(`${backend.name}: ${errorText(error)}`);
      }
    }
    const { codec, width, height } = configuration;
    // The wire has room for one or two: ahead goes what the configuration can be changed for.
    const reasons = [...refusals, ...absences];
    throw new EncoderUnavailableError(
      `no encoder for ${codec} ${width}x${height}: ${reasons.join("; ") || "none is configured"}`,
    );
  }
}
