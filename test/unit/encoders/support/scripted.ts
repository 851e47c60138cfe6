/** Encoders whose answers and failures a test decides. */
import {
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderDescription,
  EncoderFailedError,
  type EncoderListener,
  type EncoderOffer,
  type EncoderSession,
  type FrameRequest,
  type FrameSource,
} from "../../../../host/encoders/encoder.ts";

/** A session that answers a frame when it is told to. */
class ScriptedSession implements EncoderSession {
  readonly description: EncoderDescription;
  readonly #listener: EncoderListener;
  readonly waiting: FrameRequest[] = [];
  closed = false;
  /** Thrown by close. */
  closingError: Error | undefined;
  #failed = false;

  constructor(encoder: string, listener: EncoderListener) {
    const colorimetry = { primaries: 1, transfer: 1, matrix: 1, fullRange: false };
    const size = { width: 320, height: 240 };
    this.description = { encoder, hardware: true, ...size, colorimetry, bitrateKbps: 1, keyframeInterval: 1 };
    this.#listener = listener;
  }

  encode(_source: FrameSource, request: FrameRequest): void {
    if (this.closed || this.#failed) throw new EncoderFailedError("the session is closed, or has failed");
    this.waiting.push(request);
  }

  /** Answers all frames. */
  packets(): void {
    const times = { queueUs: 0, convertUs: 0, encodeUs: 0 };
    for (const { frame } of this.waiting.splice(0)) {
      this.#listener({ kind: "read", frame });
      this.#listener({ kind: "packet", frame, key: true, data: new Uint8Array(1), ...times });
    }
  }

  /** As native sessions do: the frames behind the failed one are dropped later. */
  fail(message = "no luck"): void {
    this.#failed = true;
    const failed = this.waiting.shift()?.frame;
    if (failed !== undefined) {
      this.#listener({ kind: "read", frame: failed });
      this.#listener({ kind: "frame-failed", frame: failed, message });
    }
    this.#listener({ kind: "failed", message });
  }

  /** As a native session whose driver does not answer. */
  hang(message = "no answer"): void {
    this.#failed = true;
    this.#drop("encoder");
    this.#listener({ kind: "failed", message, hung: true });
  }

  #drop(reason: "encoder" | "flushed"): void {
    for (const { frame } of this.waiting.splice(0)) {
      this.#listener({ kind: "read", frame });
      this.#listener({ kind: "dropped", frame, reason });
    }
  }

  reconfigure(): boolean {
    return !this.closed;
  }

  async drain(): Promise<void> {
    this.packets();
  }

  async flush(): Promise<void> {
    this.#drop("flushed");
  }

  async close(): Promise<void> {
    await new Promise(setImmediate);
    this.#drop("encoder");
    this.closed = true;
    if (this.closingError !== undefined) throw this.closingError;
  }
}

export class ScriptedBackend implements EncoderBackend {
  readonly name: string;
  readonly sessions: ScriptedSession[] = [];
  /** Thrown by the next openings. */
  error: Error | undefined;
  /** Openings settle when it does. */
  gate: Promise<void> = Promise.resolve();
  /** Called by each opening. */
  onOpen: () => void = () => undefined;

  constructor(name: string) {
    this.name = name;
  }

  get last(): ScriptedSession {
    const session = this.sessions.at(-1);
    if (session === undefined) throw new Error(`${this.name} was not opened`);
    return session;
  }

  async offers(): Promise<readonly EncoderOffer[]> {
    const size = { maxWidth: 4096, maxHeight: 4096 };
    return [{ name: this.name, codec: "h264", hardware: true, profiles: ["high"], ...size }];
  }

  async open(_configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession> {
    this.onOpen();
    await this.gate;
    if (this.error !== undefined) throw this.error;
    const session = new ScriptedSession(this.name, listener);
    this.sessions.push(session);
    return session;
  }
}
