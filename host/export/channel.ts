/**
 * One connection of the export protocol, the same for both ends: messages in, messages out.
 */
import {
  ExportDecoder,
  type ExportMessage,
  ExportProtocolError,
  encodeExportMessage,
} from "../../proto/export.ts";
import { FdSocket } from "../native/fd-socket.ts";
import { closeDescriptor } from "../native/os-addon.ts";

export interface ExportChannelEvents {
  onMessage(message: ExportMessage): void;
  /** The connection is over; `error` is the reason unless one side simply closed it. Called once. */
  onClose(error?: Error): void;
}

export interface ExportChannelLimits {
  /** Longest message that is accepted, in bytes. */
  readonly maxMessageBytes: number;
  /** Descriptors that may wait for their message. */
  readonly maxDescriptors: number;
  /** Bytes that may wait to be sent. */
  readonly maxQueuedBytes: number;
  /** Bytes received in one iteration of the event loop, so that one busy peer does not delay the others. */
  readonly turnBytes: number;
}

export class ExportChannel {
  readonly #socket: FdSocket;
  readonly #decoder: ExportDecoder;
  readonly #events: ExportChannelEvents;
  readonly #buffer: Buffer;

  /** Takes a connected socket over. */
  constructor(fd: number, limits: ExportChannelLimits, events: ExportChannelEvents) {
    this.#events = events;
    this.#buffer = Buffer.allocUnsafe(limits.turnBytes);
    this.#decoder = new ExportDecoder(limits.maxMessageBytes, limits.maxDescriptors, closeDescriptor);
    this.#socket = new FdSocket(
      fd,
      {
        onReadable: () => this.#receive(),
        onClose: (error) => {
          this.#decoder.close();
          this.#events.onClose(error);
        },
      },
      limits.maxQueuedBytes,
    );
  }

  send(message: ExportMessage): void {
    this.#socket.send(encodeExportMessage(message), "descriptor" in message ? [message.descriptor] : []);
  }

  close(error?: Error): void {
    this.#socket.close(error);
  }

  #receive(): void {
    const received = this.#socket.receive(this.#buffer, 0, this.#buffer.length);
    if (received.kind === "end") this.#socket.close();
    if (received.kind !== "bytes") return;
    if (received.count === this.#buffer.length) this.#endTurn();
    try {
      const bytes = this.#buffer.subarray(0, received.count);
      for (const message of this.#decoder.push(bytes, received.descriptors)) {
        this.#events.onMessage(message);
        if (this.#socket.closed) return;
      }
    } catch (error) {
      if (!(error instanceof ExportProtocolError)) throw error;
      this.#socket.close(error);
    }
  }

  /** There may be more: other events come first. Reports alone may follow one another without any between. */
  #endTurn(): void {
    this.#socket.setReading(false);
    setImmediate(() => this.#socket.setReading(true));
  }
}
