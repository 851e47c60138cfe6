/**
 * The back end of a vhost-user-gpu device: one connection to QEMU (docs/interop/vhost-user.rst, vhost-user-gpu.rst).
 *
 * Behaviour of QEMU that this code depends on:
 * - RESET_DEVICE comes before any memory table, GET_CONFIG before any driver.
 * - Kicks come before ENABLE, so enabling drains the ring.
 * - SET_FEATURES contains transport bits that were not offered; its value counts.
 * - stop and cont are GET_VRING_BASE, then a new display socket, the same memory with fresh descriptors, and a base
 *   other than 0. Resources stay; only RESET_DEVICE drops them.
 * - QEMU waits for our reply with the whole VM stopped, so nothing here waits. In particular nothing is requested on the
 *   display socket, because QEMU would answer only after this reply.
 *
 * A back end would draw in QEMU's own window through the display socket (vhost-user-gpu.rst). This one shows nothing
 * there, so it sends nothing; it keeps the socket open, because QEMU logs an error when it is closed.
 */
import type { Logger } from "pino";
import { errorText } from "../../common/error-text.ts";
import { FdSocket } from "../native/fd-socket.ts";
import { GuestMemory } from "../native/guest-memory.ts";
import { closeDescriptor } from "../native/os-addon.ts";
import { Feature, QUEUE_COUNT } from "./commands.ts";
import type { GpuDevice } from "./device.ts";
import type { SessionRecorder } from "./session-recording.ts";
import {
  configPayload,
  MAX_PAYLOAD_BYTES,
  MESSAGE_HEADER_BYTES,
  type MessageHeader,
  PROTOCOL_FEATURES_BIT,
  ProtocolFeature,
  parseHeader,
  parseMemoryTable,
  parseRingAddresses,
  parseRingDescriptor,
  parseRingState,
  parseU64,
  Request,
  ringStatePayload,
  serialiseReply,
  u64Payload,
  VhostUserError,
} from "./vhost-user-protocol.ts";
import type { Vring } from "./vring.ts";

const bit = (number: number): bigint => 1n << BigInt(number);
const bits = (numbers: readonly number[]): bigint => numbers.reduce((sum, number) => sum | bit(number), 0n);
const OFFERED_FEATURES = bits([...Object.values(Feature), PROTOCOL_FEATURES_BIT]);
const OFFERED_PROTOCOL_FEATURES = bits(Object.values(ProtocolFeature));

/** Replies are small and QEMU reads them at once; more unsent bytes mean that it has stopped reading. */
const MAX_QUEUED_BYTES = 1 << 16;
/** Messages handled for one report of readiness. */
export const MESSAGES_PER_TURN = 64;

/** The device that a connection drives, and the recorder of the connection. */
export interface VhostUserTarget {
  readonly device: GpuDevice;
  /** By queue number. */
  readonly rings: readonly Vring[];
  readonly recorder: SessionRecorder | undefined;
}

export interface VhostUserEvents {
  /** The peer has sent a message, so it is a front end and does not only test whether the socket is in use. */
  onEngaged(): void;
  /** The connection is over; `error` unless the peer closed it. */
  onEnd(error?: Error): void;
}

export class VhostUserBackend {
  readonly #socket: FdSocket;
  readonly #device: GpuDevice;
  readonly #rings: readonly Vring[];
  readonly #recorder: SessionRecorder | undefined;
  readonly #log: Logger;
  readonly #events: VhostUserEvents;
  readonly #header = Buffer.alloc(MESSAGE_HEADER_BYTES);
  readonly #payload = Buffer.alloc(MAX_PAYLOAD_BYTES);
  /** The header of the message whose payload is being received. */
  #message: MessageHeader | undefined;
  /** Bytes of header or payload received so far. */
  #filled = 0;
  /** Descriptors that came with the present message and were not used yet. */
  #descriptors: number[] = [];
  #engaged = false;
  #features = 0n;
  #protocolFeatures = 0n;
  #memory: GuestMemory | undefined;
  #displaySocket: number | undefined;

  /** Requests that have a reply of their own: its payload. */
  readonly #replies: Readonly<Record<number, (payload: Buffer) => Buffer>> = {
    [Request.GET_FEATURES]: () => u64Payload(OFFERED_FEATURES),
    [Request.GET_PROTOCOL_FEATURES]: () => u64Payload(OFFERED_PROTOCOL_FEATURES),
    [Request.GET_QUEUE_NUM]: () => u64Payload(BigInt(QUEUE_COUNT)),
    [Request.GET_CONFIG]: (payload) => configPayload(payload, this.#device.configuration()),
    [Request.GET_VRING_BASE]: (payload) => {
      const { index } = parseRingState(payload);
      return ringStatePayload({ index, value: this.#ring(index).stop() });
    },
  };
  /** All others, which are acknowledged if the front end requests it. */
  readonly #actions: Readonly<Record<number, (payload: Buffer) => void>> = {
    [Request.SET_FEATURES]: (payload) => {
      this.#features = parseU64(payload);
    },
    [Request.SET_PROTOCOL_FEATURES]: (payload) => {
      this.#protocolFeatures = parseU64(payload);
    },
    // One front end, so ownership has no effect; no field of the configuration can be set.
    [Request.SET_OWNER]: () => undefined,
    [Request.RESET_OWNER]: () => undefined,
    [Request.SET_CONFIG]: () => undefined,
    [Request.SET_MEM_TABLE]: (payload) => this.#setMemoryTable(payload),
    [Request.GPU_SET_SOCKET]: () => this.#setDisplaySocket(),
    [Request.RESET_DEVICE]: () => this.#resetDevice(),
    [Request.SET_VRING_NUM]: (payload) => this.#withRing(payload, (ring, size) => ring.setSize(size)),
    [Request.SET_VRING_BASE]: (payload) => this.#withRing(payload, (ring, base) => ring.setBase(base)),
    [Request.SET_VRING_ENABLE]: (payload) =>
      this.#withRing(payload, (ring, value) => ring.setEnabled(value !== 0)),
    [Request.SET_VRING_ADDR]: (payload) => {
      const { index, ...addresses } = parseRingAddresses(payload);
      this.#ring(index).setAddresses(addresses);
    },
    [Request.SET_VRING_KICK]: (payload) => this.#startRing(payload),
    [Request.SET_VRING_CALL]: (payload) => {
      const { index, hasFd } = parseRingDescriptor(payload);
      this.#ring(index).setCall(hasFd ? this.#takeDescriptor() : undefined);
    },
    // Errors of a ring go to the log; the descriptor is closed with the message.
    [Request.SET_VRING_ERR]: () => undefined,
  };

  /** Takes a connected socket over. Device and rings are touched only after `onEngaged`. */
  constructor(fd: number, target: VhostUserTarget, log: Logger, events: VhostUserEvents) {
    this.#device = target.device;
    this.#rings = target.rings;
    this.#recorder = target.recorder;
    this.#log = log;
    this.#events = events;
    this.#socket = new FdSocket(
      fd,
      { onReadable: () => this.#receive(), onClose: (error) => this.#end(error) },
      MAX_QUEUED_BYTES,
    );
  }

  close(): void {
    this.#socket.close();
  }

  /** Reads exactly one header, then exactly its payload, so that descriptors stay with their message. */
  #receive(): void {
    for (let messages = 0; messages < MESSAGES_PER_TURN; ) {
      const target = this.#message === undefined ? this.#header : this.#payload;
      const wanted = this.#message?.size ?? MESSAGE_HEADER_BYTES;
      if (this.#filled < wanted) {
        const received = this.#socket.receive(target, this.#filled, wanted - this.#filled);
        if (received.kind === "end") this.#socket.close();
        if (received.kind !== "bytes") return;
        this.#filled += received.count;
        this.#descriptors.push(...received.descriptors);
        continue;
      }
      this.#filled = 0;
      try {
        if (this.#message === undefined) {
          this.#message = parseHeader(this.#header);
        } else {
          messages++;
          const isFirst = !this.#engaged;
          this.#engaged = true;
          if (isFirst) this.#events.onEngaged();
          this.#handle(this.#message, Buffer.from(this.#payload.subarray(0, wanted)));
          this.#message = undefined;
        }
      } catch (error) {
        this.#socket.close(error instanceof Error ? error : new VhostUserError(String(error)));
      }
      if (this.#socket.closed) return;
    }
  }

  /** @throws VhostUserError if the front end waits for a reply that cannot be given */
  #handle(message: MessageHeader, payload: Buffer): void {
    const { request, needsReply } = message;
    this.#log.debug(
      { request, bytes: payload.length, descriptors: this.#descriptors.length },
      "vhost-user message",
    );
    this.#recorder?.message(message, payload, this.#descriptors);
    const ownReply = this.#replies[request];
    let reply = u64Payload(0n);
    try {
      if (ownReply !== undefined) reply = ownReply(payload);
      else this.#act(request, payload);
    } catch (error) {
      this.#log.error({ request, reason: errorText(error) }, "a vhost-user message failed");
      if (ownReply !== undefined) throw error;
      reply = u64Payload(1n);
    } finally {
      this.#descriptors.splice(0).forEach(closeDescriptor);
    }
    const acknowledges = needsReply && (this.#protocolFeatures & bit(ProtocolFeature.REPLY_ACK)) !== 0n;
    if (ownReply === undefined && !acknowledges) return;
    this.#recorder?.reply(reply);
    this.#socket.send(serialiseReply(request, reply));
  }

  #act(request: number, payload: Buffer): void {
    const action = this.#actions[request];
    if (action === undefined) {
      throw new VhostUserError(
        `unsupported request ${request}: unknown, or of a feature that was not offered`,
      );
    }
    action(payload);
  }

  #ring(index: number): Vring {
    const ring = this.#rings[index];
    if (ring === undefined) throw new VhostUserError(`unknown ring ${index}, at most ${QUEUE_COUNT - 1}`);
    return ring;
  }

  #withRing(payload: Buffer, change: (ring: Vring, value: number) => void): void {
    const { index, value } = parseRingState(payload);
    change(this.#ring(index), value);
  }

  #takeDescriptor(): number {
    const fd = this.#descriptors.shift();
    if (fd === undefined) throw new VhostUserError("a descriptor is missing");
    return fd;
  }

  #startRing(payload: Buffer): void {
    const { index, hasFd } = parseRingDescriptor(payload);
    const ring = this.#ring(index);
    if (!hasFd) throw new VhostUserError("a ring without a kick descriptor (polling) is not supported");
    // Without protocol features there is no ENABLE message, and rings are enabled when they start.
    if ((this.#features & bit(PROTOCOL_FEATURES_BIT)) === 0n) ring.setEnabled(true);
    ring.start(this.#takeDescriptor(), this.#memory, {
      eventIndex: (this.#features & bit(Feature.EVENT_IDX)) !== 0n,
      indirect: (this.#features & bit(Feature.INDIRECT_DESC)) !== 0n,
    });
  }

  #setMemoryTable(payload: Buffer): void {
    const regions = parseMemoryTable(payload);
    if (this.#descriptors.length !== regions.length) {
      throw new VhostUserError(
        `${regions.length} memory regions with ${this.#descriptors.length} descriptors`,
      );
    }
    const memory = new GuestMemory(regions, this.#descriptors.splice(0));
    const before = this.#memory;
    this.#memory = memory;
    try {
      this.#device.setMemory(memory);
      for (const ring of this.#rings) ring.rebind(memory);
    } finally {
      before?.close();
    }
    this.#log.info(
      { regions: regions.length, memories: memory.memories().map(({ identity }) => identity) },
      "the guest's memory is mapped",
    );
  }

  #setDisplaySocket(): void {
    const fd = this.#takeDescriptor();
    if (this.#displaySocket !== undefined) closeDescriptor(this.#displaySocket);
    this.#displaySocket = fd;
  }

  #resetDevice(): void {
    for (const ring of this.#rings) ring.reset();
    this.#device.reset();
    this.#log.info("the device was reset");
  }

  #end(error: Error | undefined): void {
    if (this.#engaged) {
      for (const ring of this.#rings) ring.close();
      this.#device.reset();
    }
    this.#memory?.close();
    this.#descriptors.splice(0).forEach(closeDescriptor);
    if (this.#displaySocket !== undefined) closeDescriptor(this.#displaySocket);
    this.#displaySocket = undefined;
    this.#events.onEnd(error);
  }
}
