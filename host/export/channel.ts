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
}

const RECEIVE_BYTES = 65536;
/** Receptions for one report, so that one busy peer does not delay the others. */
const RECEIVES_PER_TURN = 16;

export class ExportChannel {
  readonly #socket: FdSocket;
  readonly #decoder: ExportDecoder;
  readonly #events: ExportChannelEvents;
  readonly #buffer = Buffer.allocUnsafe(RECEIVE_BYTES);

  /** Takes a connected socket over. */
  constructor(fd: number, limits: ExportChannelLimits, events: ExportChannelEvents) {
    this.#events = events;
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
    for (let turn = 0; turn < RECEIVES_PER_TURN; turn++) {
      const received = this.#socket.receive(this.#buffer, 0, RECEIVE_BYTES);
      if (received.kind === "nothing") return;
      if (received.kind === "end") {
        this.#socket.close();
        return;
      }
      try {
        const bytes = this.#buffer.subarray(0, received.count);
        for (const message of this.#decoder.push(bytes, received.descriptors)) {
          this.#events.onMessage(message);
          if (this.#socket.closed) return;
        }
      } catch (error) {
        if (!(error instanceof ExportProtocolError)) throw error;
        this.#socket.close(error);
        return;
      }
    }
  }
}
