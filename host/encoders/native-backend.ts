/** What the back ends of native encoders share: they find out, once, which encoders open, and prepare streams. */
import type { CodecName } from "../../common/codec.ts";
import { errorText } from "../../common/error-text.ts";
import {
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderListener,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
} from "./encoder.ts";
import { type BackendSettings, NativeEncoderSession, type PreparedStream } from "./native-session.ts";
import { planStream, type StreamPlan } from "./plan.ts";
import { encodedColorimetry, hasFixedRate, isRgb, nominalFramerate, pixelAspectRatio } from "./settings.ts";

/** A driver that has not opened by then hangs. */
const PROBE_MS = 5000;

/** Large enough for the minimum size of any encoder. */
const PROBE: Omit<EncoderConfiguration, "codec"> = {
  width: 256,
  height: 256,
  framerate: { numerator: 30, denominator: 1 },
  profile: undefined,
  levels: [],
  bitrateKbps: 1000,
  rateControl: "cbr",
  keyframeInterval: 30,
  colorimetry: { primaries: 0, transfer: 0, matrix: 0, fullRange: false },
  pixelAspectRatio: { numerator: 1, denominator: 1 },
};

export interface NativeBackendOptions {
  /** Encode RGB as 0 … 255 instead of 16 … 235 (NV12 and I420 keep their range). Default false. */
  readonly fullRange?: boolean;
  /** Called once, with the reason, when `offers` finds that an encoder does not open for one of its codecs. */
  readonly onUnavailable?: (encoder: string, reason: string) => void;
}

export abstract class NativeBackend implements EncoderBackend {
  abstract readonly name: string;
  /** The offers if everything opens, best first, each codec once. */
  protected abstract readonly candidates: readonly EncoderOffer[];
  readonly #options: NativeBackendOptions;
  #offers: Promise<readonly EncoderOffer[]> | undefined;
  #unavailable: string | undefined;

  constructor(options: NativeBackendOptions = {}) {
    this.#options = options;
  }

  /** The settings of this back end alone. */
  protected abstract settings(configuration: EncoderConfiguration, plan: StreamPlan): BackendSettings;

  get unavailable(): string | undefined {
    return this.#unavailable;
  }

  offers(): Promise<readonly EncoderOffer[]> {
    this.#offers ??= this.#probe();
    return this.#offers;
  }

  async open(configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession> {
    const candidate = this.candidates.find(({ codec }) => codec === configuration.codec);
    if (candidate === undefined) {
      const codecs = this.candidates.map(({ codec }) => codec).join(", ");
      throw new EncoderUnavailableError(`it makes ${codecs}, not ${configuration.codec}`);
    }
    const prepare = (wanted: EncoderConfiguration, currentLevel?: number) =>
      this.#prepare(candidate, wanted, currentLevel);
    return await NativeEncoderSession.open(prepare, candidate.hardware, configuration, listener);
  }

  /** @throws EncoderUnavailableError when this encoder cannot do it. */
  #prepare(
    { profiles, maxWidth, maxHeight }: EncoderOffer,
    configuration: EncoderConfiguration,
    currentLevel: number | undefined,
  ): PreparedStream {
    const plan = planStream(configuration, profiles, currentLevel);
    const { width, height, rateControl } = configuration;
    if (width > maxWidth || height > maxHeight) {
      throw new EncoderUnavailableError(`${width}x${height} exceeds its ${maxWidth}x${maxHeight}`);
    }
    const settings = {
      width,
      height,
      framerate: nominalFramerate(configuration),
      fixedRate: hasFixedRate(configuration),
      pixelAspectRatio: pixelAspectRatio(configuration),
      colorimetry: encodedColorimetry(configuration, this.#options.fullRange ?? false),
      rgb: isRgb(configuration),
      rates: plan.rates,
      keyframeInterval: plan.keyframeInterval,
      ...this.settings(configuration, plan),
    };
    return { plan, rateControl, settings };
  }

  async #probe(): Promise<readonly EncoderOffer[]> {
    const offers: EncoderOffer[] = [];
    const reasons = new Set<string>();
    // One after the other: hardware encoders allow few sessions.
    for (const candidate of this.candidates) {
      try {
        await this.#tryCodec(candidate.codec);
        offers.push(candidate);
      } catch (error) {
        reasons.add(errorText(error));
      }
    }
    if (reasons.size > 0) {
      const reason = [...reasons].join("; ");
      if (offers.length === 0) this.#unavailable = reason;
      this.#options.onUnavailable?.(this.name, reason);
    }
    return offers;
  }

  /**
   * Opens a session and closes it, within PROBE_MS. Nothing can stop a driver that hangs; its end is ignored.
   *
   * @throws EncoderError with the reason why it does not open
   */
  async #tryCodec(codec: CodecName): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new EncoderUnavailableError(`it did not open within ${PROBE_MS} ms`);
      timer = setTimeout(() => reject(error), PROBE_MS);
    });
    const opened = this.open({ ...PROBE, codec }, () => {}).then((session) => session.close());
    try {
      await Promise.race([opened, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
