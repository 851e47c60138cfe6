/**
 * The encoder of a watched head: a session for each size, one frame at a time.
 *
 * One at a time is enough for a screen, and keeps latency low: changes during an encode are in the next picture.
 */
import {
  type EncodedPacket,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderEvent,
  EncoderFailedError,
  type EncoderSession,
} from "../encoders/encoder.ts";
import type { Picture } from "../native/picture.ts";
import type { HeadOptions } from "./head-run.ts";

/** A new viewer gets the group of pictures replayed, or requests a key frame. */
const KEYFRAME_SECONDS = 5;

type Size = Pick<EncoderConfiguration, "width" | "height">;

interface Current {
  readonly session: EncoderSession;
  configuration: EncoderConfiguration;
  /** The settings need a new session, or this one has failed. */
  stale: boolean;
}

interface Pending {
  readonly resolve: (packet: EncodedPacket | undefined) => void;
  readonly reject: (error: Error) => void;
}

export class HeadEncoder {
  readonly #options: HeadOptions;
  #bitrateKbps: number;
  #current: Current | undefined;
  #pending: Pending | undefined;
  #frame = 0;
  #closed = false;

  constructor(options: HeadOptions) {
    this.#options = options;
    this.#bitrateKbps = options.bitrateKbps;
  }

  /** Of the open session. */
  get description(): EncoderDescription | undefined {
    return this.#current?.session.description;
  }

  /**
   * Ensures a session for pictures of this size.
   *
   * @returns whether it is new, and so begins with a key frame
   * @throws EncoderUnavailableError, EncoderFailedError
   */
  async open({ width, height }: Size): Promise<boolean> {
    const { configuration: now, stale } = this.#current ?? {};
    if (now?.width === width && now.height === height && stale === false) return false;
    await this.#end();
    const configuration = this.#configuration({ width, height });
    const session = await this.#options.backend.open(configuration, (event) => this.#onEvent(event));
    if (this.#closed) {
      await session.close();
      throw new EncoderFailedError("the head is no longer watched");
    }
    this.#current = { session, configuration, stale: false };
    this.#options.metrics.encoderOpened(session.description);
    this.#options.log.info(session.description, "encoder opened");
    return true;
  }

  /**
   * Encodes one picture of the size given to `open`; the previous one must have settled.
   *
   * @returns undefined if the encoder dropped it
   * @throws EncoderError
   */
  encode(picture: Picture, ptsNs: number, forceKeyFrame: boolean): Promise<EncodedPacket | undefined> {
    return new Promise((resolve, reject) => {
      const session = this.#current?.session;
      if (session === undefined) throw new EncoderFailedError("the encoder is closed");
      this.#frame += 1;
      this.#pending = { resolve, reject };
      session.encode(picture, { frame: this.#frame, ptsNs, durationNs: 0, forceKeyFrame });
    });
  }

  /** Takes effect with the next picture. */
  setBitrate(kbps: number): void {
    this.#bitrateKbps = kbps;
    const current = this.#current;
    if (current === undefined || current.stale) return;
    const configuration = { ...current.configuration, bitrateKbps: kbps };
    try {
      current.stale = !current.session.reconfigure(configuration);
      current.configuration = configuration;
    } catch (error) {
      this.#options.log.warn({ err: error, kbps }, "cannot change the bit rate");
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#end();
  }

  #configuration(size: Size): EncoderConfiguration {
    const { rate } = this.#options;
    return {
      codec: "h264",
      ...size,
      framerate: { numerator: rate, denominator: 1 },
      profile: undefined,
      levels: [],
      bitrateKbps: this.#bitrateKbps,
      rateControl: "cbr",
      keyframeInterval: rate * KEYFRAME_SECONDS,
      // RGB, and otherwise unspecified, which stands for sRGB.
      colorimetry: { primaries: 0, transfer: 0, matrix: 0, fullRange: true },
      pixelAspectRatio: { numerator: 1, denominator: 1 },
    };
  }

  #onEvent(event: EncoderEvent): void {
    switch (event.kind) {
      case "packet":
        this.#options.metrics.frameEncoded(event);
        this.#take()?.resolve(event);
        break;
      case "dropped":
        this.#take()?.resolve(undefined);
        break;
      case "failed":
      case "frame-failed":
        if (event.kind === "failed" && this.#current !== undefined) this.#current.stale = true;
        this.#take()?.reject(new EncoderFailedError(event.message));
        break;
      case "replaced":
        this.#options.metrics.encoderClosed(event.from);
        this.#options.metrics.encoderOpened(event.to);
        this.#options.log.info(event.to, "encoder replaced");
        break;
      case "note":
        this.#options.log.info(`encoder: ${event.message}`);
        break;
    }
  }

  #take() {
    const pending = this.#pending;
    this.#pending = undefined;
    return pending;
  }

  async #end(): Promise<void> {
    const current = this.#current;
    if (current === undefined) return;
    this.#current = undefined;
    this.#options.metrics.encoderClosed(current.session.description);
    try {
      await current.session.close();
    } catch (error) {
      this.#options.log.error({ err: error }, "cannot close the encoder");
    }
    this.#take()?.resolve(undefined);
  }
}
