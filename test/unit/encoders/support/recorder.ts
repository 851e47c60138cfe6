/** Collects what a session reports, and checks the contract of EncoderEvents while doing so. */
import type { EncodedPacket, EncoderError, EncoderEvents } from "../../../../host/encoders/encoder.ts";

export class Recorder implements EncoderEvents {
  readonly read: number[] = [];
  readonly packets: EncodedPacket[] = [];
  readonly dropped: { frame: number; reason: string }[] = [];
  readonly errors: { frame: number | undefined; error: EncoderError }[] = [];
  readonly broken: string[] = [];
  readonly #answered = new Set<number>();

  onFrameRead(frame: number): void {
    if (this.read.includes(frame)) this.broken.push(`frame ${frame} was read twice`);
    this.read.push(frame);
  }

  onPacket(packet: EncodedPacket): void {
    this.#answer(packet.frame);
    this.packets.push(packet);
  }

  onDropped(frame: number, reason: "flushed" | "encoder"): void {
    this.#answer(frame);
    this.dropped.push({ frame, reason });
  }

  onError(frame: number | undefined, error: EncoderError): void {
    if (frame !== undefined) this.#answer(frame);
    this.errors.push({ frame, error });
  }

  /** Frames that have had their answer, whatever it was. */
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
