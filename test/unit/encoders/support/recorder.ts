/** Collects the events of a session and checks that they follow the contract of EncoderEvent. */
import type { EncodedPacket, EncoderListener } from "../../../../host/encoders/encoder.ts";

export class Recorder {
  readonly read: number[] = [];
  readonly packets: EncodedPacket[] = [];
  readonly dropped: { frame: number; reason: string }[] = [];
  /** `frame` is undefined where the session as a whole has failed. */
  readonly errors: { frame: number | undefined; message: string }[] = [];
  readonly notes: string[] = [];
  readonly broken: string[] = [];
  readonly #answered = new Set<number>();

  readonly listener: EncoderListener = (event) => {
    switch (event.kind) {
      case "read":
        if (this.read.includes(event.frame)) this.broken.push(`frame ${event.frame} was read twice`);
        this.read.push(event.frame);
        break;
      case "packet":
        this.#answer(event.frame);
        this.packets.push(event);
        break;
      case "dropped":
        this.#answer(event.frame);
        this.dropped.push({ frame: event.frame, reason: event.reason });
        break;
      case "frame-failed":
        this.#answer(event.frame);
        this.errors.push({ frame: event.frame, message: event.message });
        break;
      case "failed":
        this.errors.push({ frame: undefined, message: event.message });
        break;
      case "note":
        this.notes.push(event.message);
        break;
    }
  };

  /** Frames that have been answered in any way. */
  get answered(): number {
    return this.#answered.size;
  }

  get stream(): Buffer {
    return Buffer.concat(this.packets.map((packet) => packet.data));
  }

  get keys(): number[] {
    return this.packets.filter((packet) => packet.key).map((packet) => packet.frame);
  }

  #answer(frame: number): void {
    if (!this.read.includes(frame)) this.broken.push(`frame ${frame} was answered before it was read`);
    if (this.#answered.has(frame)) this.broken.push(`frame ${frame} was answered twice`);
    this.#answered.add(frame);
  }
}
