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
import { closeDescriptor } from "../native/descriptor.ts";
import { FdSocket, type Received } from "../native/fd-socket.ts";
import { GuestMemory } from "../native/guest-memory.ts";
import { Feature, QUEUE_COUNT } from "./commands.ts";
import type { GpuDevice } from "./device.ts";
import type { SessionRecorder } from "./session-recorder.ts";
import {
  configPayload,
  MAX_PAYLOAD_BYTES,
  MESSAGE_HEADER_BYTES,
  type MessageHeader,
  PROTOCOL_FEATURES_BIT,
  ProtocolFeature,
  parseConfigRange,
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

const OFFERED_FEATURES =
  bit(Feature.EDID) |
  bit(Feature.INDIRECT_DESC) |
  bit(Feature.EVENT_IDX) |
  bit(Feature.VERSION_1) |
  bit(PROTOCOL_FEATURES_BIT);

const OFFERED_PROTOCOL_FEATURES =
  bit(ProtocolFeature.REPLY_ACK) | bit(ProtocolFeature.CONFIG) | bit(ProtocolFeature.RESET_DEVICE);

/** Replies are small and QEMU reads them at once; more unsent bytes mean that it has stopped reading. */
const MAX_QUEUED_BYTES = 1 << 16;
/** Messages handled for one report of readiness. */
const MESSAGES_PER_TURN = 64;

/** Requests that have a reply of their own; all others are acknowledged if the front end requests it. */
const REPLYING: ReadonlySet<number> = new Set([
  Request.GET_FEATURES,
  Request.GET_PROTOCOL_FEATURES,
  Request.GET_VRING_BASE,
  Request.GET_QUEUE_NUM,
  Request.GET_CONFIG,
]);

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
        if (!this.#account(received)) return;
        continue;
      }
      this.#filled = 0;
      try {
        if (this.#message === undefined) {
          this.#message = parseHeader(this.#header);
        } else {
          messages++;
          this.#engage();
          this.#handle(this.#message, Buffer.from(this.#payload.subarray(0, wanted)));
          this.#message = undefined;
        }
      } catch (error) {
        this.#socket.close(error instanceof Error ? error : new VhostUserError(String(error)));
      }
      if (this.#socket.closed) return;
    }
  }

  #engage(): void {
    if (this.#engaged) return;
    this.#engaged = true;
    this.#events.onEngaged();
  }

  /** True if bytes came. */
  #account(received: Received): boolean {
    switch (received.kind) {
      case "nothing":
        return false;
      case "end":
        this.#socket.close();
        return false;
      case "bytes":
        this.#filled += received.count;
        this.#descriptors.push(...received.descriptors);
        return true;
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
    let failure: Error | undefined;
    let reply: Buffer | undefined;
    try {
      reply = this.#execute(request, payload);
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
      this.#log.error({ request, reason: failure.message }, "a vhost-user message failed");
      if (REPLYING.has(request)) throw failure;
    } finally {
      this.#descriptors.splice(0).forEach(closeDescriptor);
    }
    if (reply === undefined && needsReply && this.#acknowledges) {
      reply = u64Payload(failure === undefined ? 0n : 1n);
    }
    if (reply === undefined) return;
    this.#recorder?.reply(reply);
    this.#socket.send(serialiseReply(request, reply));
  }

  get #acknowledges(): boolean {
    return (this.#protocolFeatures & bit(ProtocolFeature.REPLY_ACK)) !== 0n;
  }

  /** @returns the payload of the request's own reply, if it has one */
  #execute(request: number, payload: Buffer): Buffer | undefined {
    switch (request) {
      case Request.GET_FEATURES:
        return u64Payload(OFFERED_FEATURES);
      case Request.SET_FEATURES:
        this.#features = parseU64(payload);
        return undefined;
      case Request.GET_PROTOCOL_FEATURES:
        return u64Payload(OFFERED_PROTOCOL_FEATURES);
      case Request.SET_PROTOCOL_FEATURES:
        this.#protocolFeatures = parseU64(payload);
        return undefined;
      case Request.GET_QUEUE_NUM:
        return u64Payload(BigInt(QUEUE_COUNT));
      case Request.SET_OWNER:
      case Request.RESET_OWNER:
      case Request.SET_CONFIG:
        // One front end, so ownership has no effect; no field of the configuration can be set.
        return undefined;
      case Request.GET_CONFIG:
        return configPayload(payload, parseConfigRange(payload), this.#device.configuration());
      case Request.SET_MEM_TABLE:
        this.#setMemoryTable(payload);
        return undefined;
      case Request.GPU_SET_SOCKET:
        this.#setDisplaySocket();
        return undefined;
      case Request.RESET_DEVICE:
        this.#resetDevice();
        return undefined;
      default:
        return this.#executeRing(request, payload);
    }
  }

  #executeRing(request: number, payload: Buffer): Buffer | undefined {
    switch (request) {
      case Request.SET_VRING_NUM: {
        const { index, value } = parseRingState(payload);
        this.#ring(index).setSize(value);
        return undefined;
      }
      case Request.SET_VRING_BASE: {
        const { index, value } = parseRingState(payload);
        this.#ring(index).setBase(value);
        return undefined;
      }
      case Request.SET_VRING_ADDR: {
        const { index, ...addresses } = parseRingAddresses(payload);
        this.#ring(index).setAddresses(addresses);
        return undefined;
      }
      case Request.SET_VRING_ENABLE: {
        const { index, value } = parseRingState(payload);
        this.#ring(index).setEnabled(value !== 0);
        return undefined;
      }
      case Request.GET_VRING_BASE: {
        const { index } = parseRingState(payload);
        return ringStatePayload({ index, value: this.#ring(index).stop() });
      }
      case Request.SET_VRING_KICK:
        this.#startRing(payload);
        return undefined;
      case Request.SET_VRING_CALL: {
        const { index, hasFd } = parseRingDescriptor(payload);
        this.#ring(index).setCall(hasFd ? this.#takeDescriptor() : undefined);
        return undefined;
      }
      case Request.SET_VRING_ERR:
        // Errors of a ring go to the log; the descriptor is closed with the message.
        return undefined;
      default:
        throw new VhostUserError(
          `unsupported request ${request}: unknown, or of a feature that was not offered`,
        );
    }
  }

  #ring(index: number): Vring {
    const ring = this.#rings[index];
    if (ring === undefined) throw new VhostUserError(`unknown ring ${index}, at most ${QUEUE_COUNT - 1}`);
    return ring;
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
