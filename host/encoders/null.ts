/**
 * The null back end: answers every frame with a tiny packet and reads no pixels. For tests, and for measuring everything
 * but the encoder. Its packets look like Annex B (parameter sets, then one slice), but do not decode, and are the same
 * for every profile and level.
 */

import { PROFILES } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import {
  checkInFlight,
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderDescription,
  EncoderFailedError,
  type EncoderListener,
  type EncoderOffer,
  type EncoderSession,
  EncoderUnavailableError,
  type FrameRequest,
  type FrameSource,
} from "./encoder.ts";
import { describeStream, planStream, type StreamPlan, sameStream } from "./plan.ts";

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

const OFFER: EncoderOffer = {
  name: "null",
  codec: "h264",
  maxWidth: LIMITS.MAX_DIMENSION,
  maxHeight: LIMITS.MAX_DIMENSION,
  hardware: false,
  profiles: PROFILES.h264,
};

class NullSession implements EncoderSession {
  #plan: StreamPlan;
  readonly #listener: EncoderListener;
  readonly #waiting = new Set<Waiting>();
  /** Settles when every frame so far has been answered. */
  #answered: Promise<void> = Promise.resolve();
  #sinceKey = 0;
  #closed = false;

  constructor(configuration: EncoderConfiguration, listener: EncoderListener) {
    this.#plan = planStream(configuration, OFFER);
    this.#listener = listener;
  }

  get description(): EncoderDescription {
    return describeStream(OFFER, this.#plan);
  }

  encode(_source: FrameSource, request: FrameRequest): void {
    if (this.#closed) throw new EncoderFailedError("the session is closed");
    checkInFlight(request.frame, this.#waiting.size);
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
    this.#listener({ kind: "read", frame });
    if (waiting.dropped) {
      this.#listener({ kind: "dropped", frame, reason: "flushed" });
      return;
    }
    const key = forceKeyFrame || this.#sinceKey === 0 || this.#sinceKey >= this.#plan.keyframeInterval;
    this.#sinceKey = key ? 1 : this.#sinceKey + 1;
    this.#listener({
      kind: "packet",
      frame,
      key,
      data: key ? KEY_PACKET : DELTA_PACKET,
      queueUs: Math.round((performance.now() - waiting.since) * 1000),
      convertUs: 0,
      encodeUs: 0,
    });
  }

  reconfigure(configuration: EncoderConfiguration): boolean {
    const wanted = planStream(configuration, OFFER, false, this.#plan.level);
    if (!sameStream(this.#plan, wanted)) return false;
    this.#plan = wanted;
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
    return [OFFER];
  }

  async open(configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession> {
    if (configuration.codec !== "h264") {
      throw new EncoderUnavailableError(`it makes h264, not ${configuration.codec}`);
    }
    return new NullSession(configuration, listener);
  }
}
