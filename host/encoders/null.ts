/**
 * The null back end: answers every frame with a tiny packet and reads no pixel. For tests, and for measuring
 * everything but the encoder. Its packets look like Annex B (parameter sets, then one slice), but do not decode, and
 * say the same whatever profile and level were asked for.
 */

import { PROFILES } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import {
  type EncoderBackend,
  EncoderBusyError,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderEvents,
  EncoderFailedError,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
  type FrameRequest,
  type FrameSource,
} from "./encoder.ts";
import { planStream, type StreamPlan } from "./plan.ts";
import { encodedColorimetry } from "./settings.ts";

const START_CODE = [0, 0, 0, 1];
/** Constrained baseline, level 1, 16×16. */
const SPS = [0x67, 0x42, 0xc0, 0x0a, 0xda, 0x79];
const PPS = [0x68, 0xce, 0x3c, 0x80];
const KEY_PACKET = Uint8Array.from(
  [SPS, PPS, [0x65, 0x88, 0x84, 0x80]].flatMap((unit) => [...START_CODE, ...unit]),
);
const DELTA_PACKET = Uint8Array.from([...START_CODE, 0x41, 0x9a, 0x80]);

interface Waiting {
  readonly request: FrameRequest;
  readonly since: number;
  dropped: boolean;
}

class NullSession implements EncoderSession {
  #configuration: EncoderConfiguration;
  #plan: StreamPlan;
  readonly #events: EncoderEvents;
  readonly #waiting = new Set<Waiting>();
  /** Settles when everything so far has been answered. */
  #answered: Promise<void> = Promise.resolve();
  #sinceKey = 0;
  #closed = false;

  constructor(configuration: EncoderConfiguration, events: EncoderEvents) {
    this.#plan = planStream(configuration, PROFILES.h264);
    this.#configuration = configuration;
    this.#events = events;
  }

  get description(): EncoderDescription {
    const { width, height } = this.#configuration;
    return {
      encoder: "null",
      hardware: false,
      width: width + (width % 2),
      height: height + (height % 2),
      colorimetry: encodedColorimetry(this.#configuration, false),
      bitrateKbps: Math.round(this.#plan.rates.bitsPerSecond / 1000),
      keyframeInterval: this.#plan.keyframeInterval,
    };
  }

  encode(_source: FrameSource, request: FrameRequest): void {
    if (this.#closed) throw new EncoderFailedError("the session is closed");
    if (this.#waiting.size >= LIMITS.MAX_IN_FLIGHT_FRAMES) {
      throw new EncoderBusyError(
        `frame ${request.frame} is one more than the ${LIMITS.MAX_IN_FLIGHT_FRAMES} that may be unanswered`,
      );
    }
    const frame: Waiting = { request, since: performance.now(), dropped: false };
    this.#waiting.add(frame);
    this.#answered = new Promise((resolve) => {
      setImmediate(() => {
        this.#answer(frame);
        resolve();
      });
    });
  }

  #answer(waiting: Waiting): void {
    const { frame, forceKeyFrame } = waiting.request;
    this.#waiting.delete(waiting);
    this.#events.onFrameRead(frame);
    if (waiting.dropped) {
      this.#events.onDropped(frame, "flushed");
      return;
    }
    const key = forceKeyFrame || this.#sinceKey === 0 || this.#sinceKey >= this.#plan.keyframeInterval;
    this.#sinceKey = key ? 1 : this.#sinceKey + 1;
    this.#events.onPacket({
      frame,
      key,
      data: key ? KEY_PACKET : DELTA_PACKET,
      queueUs: Math.round((performance.now() - waiting.since) * 1000),
      convertUs: 0,
      encodeUs: 0,
    });
  }

  reconfigure(configuration: EncoderConfiguration): boolean {
    const current = this.#configuration;
    const plan = planStream(configuration, PROFILES.h264, this.#plan.level);
    const { width, height, rateControl } = configuration;
    if (width !== current.width || height !== current.height || rateControl !== current.rateControl)
      return false;
    if (plan.profile !== this.#plan.profile || plan.level !== this.#plan.level) return false;
    this.#configuration = configuration;
    this.#plan = plan;
    return true;
  }

  drain(): Promise<void> {
    return this.#answered;
  }

  flush(): Promise<void> {
    for (const waiting of this.#waiting) waiting.dropped = true;
    return this.#answered;
  }

  close(): Promise<void> {
    this.#closed = true;
    return this.flush();
  }
}

export class NullBackend implements EncoderBackend {
  readonly name = "null";

  async offers(): Promise<readonly EncoderOffer[]> {
    const size = LIMITS.MAX_DIMENSION;
    return [
      {
        name: "null",
        codec: "h264",
        maxWidth: size,
        maxHeight: size,
        hardware: false,
        profiles: PROFILES.h264,
      },
    ];
  }

  async open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession> {
    if (configuration.codec !== "h264") {
      throw new EncoderUnavailableError(`it makes h264, not ${configuration.codec}`);
    }
    return new NullSession(configuration, events);
  }
}
