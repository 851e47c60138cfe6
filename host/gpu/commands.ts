/**
 * The numbers of virtio-gpu, and its commands and responses as typed values (virtio 1.2, 5.7): the only code that knows where a field
 * is. A command is decoded once, with its lengths, counts and ids checked; what depends on the resource table (does the
 * resource exist, is the rectangle inside it) is the device's.
 */
import type { Rectangle } from "../../proto/export.ts";
import { virtioFormat } from "../../proto/formats.ts";
import { LIMITS } from "../../proto/limits.ts";
import { RANGE_NUMBERS } from "../native/guest-memory.ts";
import { GPU_LIMITS } from "./limits.ts";

/** Feature bits, 5.7.3 and 6. */
export const Feature = { EDID: 1, INDIRECT_DESC: 28, EVENT_IDX: 29, VERSION_1: 32 } as const;

/** Queues, 5.7.2. */
export const Queue = { CONTROL: 0, CURSOR: 1 } as const;
export const QUEUE_COUNT = 2;

/** enum virtio_gpu_ctrl_type, 5.7.6.7: the commands of a 2D device with EDID. */
export const Command = {
  GET_DISPLAY_INFO: 0x0100,
  RESOURCE_CREATE_2D: 0x0101,
  RESOURCE_UNREF: 0x0102,
  SET_SCANOUT: 0x0103,
  RESOURCE_FLUSH: 0x0104,
  TRANSFER_TO_HOST_2D: 0x0105,
  RESOURCE_ATTACH_BACKING: 0x0106,
  RESOURCE_DETACH_BACKING: 0x0107,
  GET_EDID: 0x010a,
  UPDATE_CURSOR: 0x0300,
  MOVE_CURSOR: 0x0301,
} as const;

/** The response types of 5.7.6.7 that a 2D device gives. */
const Response = {
  OK_NODATA: 0x1100,
  OK_DISPLAY_INFO: 0x1101,
  OK_EDID: 0x1104,
  ERR_UNSPEC: 0x1200,
  ERR_OUT_OF_MEMORY: 0x1201,
  ERR_INVALID_SCANOUT_ID: 0x1202,
  ERR_INVALID_RESOURCE_ID: 0x1203,
  ERR_INVALID_PARAMETER: 0x1205,
} as const;

type ErrorName = Extract<keyof typeof Response, `ERR_${string}`>;

/** A command of the control queue. */
export type ControlCommand =
  | { readonly type: "getDisplayInfo" }
  | { readonly type: "getEdid"; readonly head: number }
  | {
      readonly type: "create";
      readonly resource: number;
      /** VIRTIO_GPU_FORMAT_*. */
      readonly format: number;
      /** In pixels. */
      readonly width: number;
      readonly height: number;
    }
  | { readonly type: "unref"; readonly resource: number }
  /** Resource 0: the head shows nothing. */
  | {
      readonly type: "setScanout";
      readonly head: number;
      readonly resource: number;
      readonly rectangle: Rectangle;
    }
  | { readonly type: "flush"; readonly resource: number; readonly rectangle: Rectangle }
  | { readonly type: "transfer"; readonly resource: number; readonly rectangle: Rectangle }
  /** The ranges as GuestMemory.locate takes them. */
  | { readonly type: "attachBacking"; readonly resource: number; readonly ranges: Float64Array }
  | { readonly type: "detachBacking"; readonly resource: number };

/** A command of the cursor queue. The position is the image's first pixel; it may lie left of the picture or above. */
export type CursorCommand =
  /** Resource 0: no pointer is shown. */
  | {
      readonly type: "update";
      readonly head: number;
      readonly x: number;
      readonly y: number;
      readonly resource: number;
    }
  | { readonly type: "move"; readonly head: number; readonly x: number; readonly y: number };

export type GpuResponse =
  | { readonly type: "ok" }
  /** The connected heads' modes and positions, at most MAX_HEADS. */
  | { readonly type: "displayInfo"; readonly heads: readonly Rectangle[] }
  | { readonly type: "edid"; readonly edid: Buffer }
  | { readonly type: "error"; readonly error: ErrorName };

/** A command cannot be carried out; `error` is the virtio-gpu error for it. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly error: ErrorName;

  constructor(error: ErrorName, text: string) {
    super(text);
    this.error = error;
  }
}

/** struct virtio_gpu_ctrl_hdr: type, flags, fence_id, ctx_id, ring_idx. */
const HEADER_BYTES = 24;
const FLAGS_OFFSET = 4;
const FENCE_OFFSET = 8;
const PADDING_BYTES = 3;
const FLAG_FENCE = 1;
const FLAG_INFO_RING_IDX = 2;

/** struct virtio_gpu_display_one: rectangle, enabled, flags. */
const DISPLAY_ONE_BYTES = 24;
/** struct virtio_gpu_resp_edid after the header: size, padding, block. */
const EDID_BYTES = 1024;
/** struct virtio_gpu_mem_entry: address, length, padding. */
const MEM_ENTRY_BYTES = 16;
const ATTACH_BYTES = 8;
const CURSOR_BYTES = 32;
const RECTANGLE_BYTES = 16;

/** Longest command that is looked at: the longest ATTACH_BACKING. */
export const MAX_COMMAND_BYTES = HEADER_BYTES + ATTACH_BYTES + GPU_LIMITS.BACKING_ENTRIES * MEM_ENTRY_BYTES;

/** The fields behind a command's header. */
class Fields {
  readonly #bytes: Buffer;

  /** @throws CommandError if the driver sent less than the command's struct */
  constructor(command: Buffer, length: number) {
    const needed = HEADER_BYTES + length;
    if (command.length < needed) {
      const text = `the command has ${command.length} bytes, at least ${needed} are needed`;
      throw new CommandError("ERR_INVALID_PARAMETER", text);
    }
    this.#bytes = command.subarray(HEADER_BYTES);
  }

  u32(offset: number): number {
    return this.#bytes.readUInt32LE(offset);
  }

  i32(offset: number): number {
    return this.#bytes.readInt32LE(offset);
  }

  /** struct virtio_gpu_rect, at the start of the fields. */
  rectangle(): Rectangle {
    return { x: this.u32(0), y: this.u32(4), width: this.u32(8), height: this.u32(12) };
  }

  /** QEMU decides how many heads the guest sees (max_outputs), so every possible one is accepted. */
  head(offset: number): number {
    const head = this.u32(offset);
    if (head < LIMITS.MAX_HEADS) return head;
    throw new CommandError("ERR_INVALID_SCANOUT_ID", `invalid head ${head}, at most ${LIMITS.MAX_HEADS - 1}`);
  }
}

/** struct virtio_gpu_config, 5.7.4: events_read, events_clear, num_scanouts, num_capsets. */
export function encodeConfiguration(heads: number): Buffer {
  const configuration = Buffer.alloc(16);
  configuration.writeUInt32LE(heads, 8);
  return configuration;
}

/** The command's number, for logs; "none" if there are too few bytes. */
export function commandName(command: Buffer): string {
  return command.length >= 4 ? `0x${command.readUInt32LE(0).toString(16)}` : "none";
}

/** @throws CommandError */
export function decodeControlCommand(command: Buffer): ControlCommand {
  const fields = (bytes: number) => new Fields(command, bytes);
  fields(0);
  switch (command.readUInt32LE(0)) {
    case Command.GET_DISPLAY_INFO:
      return { type: "getDisplayInfo" };
    case Command.GET_EDID:
      return { type: "getEdid", head: fields(8).head(0) };
    case Command.RESOURCE_CREATE_2D:
      return decodeCreate(fields(16));
    case Command.RESOURCE_UNREF:
      return { type: "unref", resource: fields(8).u32(0) };
    case Command.SET_SCANOUT: {
      const given = fields(RECTANGLE_BYTES + 8);
      const [head, resource] = [given.head(RECTANGLE_BYTES), given.u32(RECTANGLE_BYTES + 4)];
      return { type: "setScanout", head, resource, rectangle: given.rectangle() };
    }
    case Command.RESOURCE_FLUSH: {
      const given = fields(RECTANGLE_BYTES + 8);
      return { type: "flush", resource: given.u32(RECTANGLE_BYTES), rectangle: given.rectangle() };
    }
    case Command.TRANSFER_TO_HOST_2D: {
      // An offset of eight bytes comes before the resource; nothing is copied, so it is not used.
      const given = fields(RECTANGLE_BYTES + 16);
      return { type: "transfer", resource: given.u32(RECTANGLE_BYTES + 8), rectangle: given.rectangle() };
    }
    case Command.RESOURCE_ATTACH_BACKING:
      return decodeAttach(command);
    case Command.RESOURCE_DETACH_BACKING:
      return { type: "detachBacking", resource: fields(8).u32(0) };
    default:
      throw new CommandError("ERR_UNSPEC", "not a command of a 2D device with EDID");
  }
}

/** @throws CommandError */
export function decodeCursorCommand(command: Buffer): CursorCommand {
  new Fields(command, 0);
  const type = command.readUInt32LE(0);
  if (type !== Command.UPDATE_CURSOR && type !== Command.MOVE_CURSOR) {
    throw new CommandError("ERR_UNSPEC", "not a cursor command");
  }
  // struct virtio_gpu_update_cursor: head, x, y, padding, resource, hot spot, padding.
  const fields = new Fields(command, CURSOR_BYTES);
  const position = { head: fields.head(0), x: fields.i32(4), y: fields.i32(8) };
  if (type === Command.MOVE_CURSOR) return { type: "move", ...position };
  return { type: "update", ...position, resource: fields.u32(16) };
}

function decodeCreate(fields: Fields): ControlCommand {
  const [resource, format, width, height] = [fields.u32(0), fields.u32(4), fields.u32(8), fields.u32(12)];
  if (resource === 0) throw new CommandError("ERR_INVALID_RESOURCE_ID", "invalid resource 0");
  const { DIMENSION } = GPU_LIMITS;
  if (width === 0 || height === 0 || width > DIMENSION || height > DIMENSION) {
    const text = `invalid size ${width}x${height} of resource ${resource}, from 1 to ${DIMENSION} pixels`;
    throw new CommandError("ERR_INVALID_PARAMETER", text);
  }
  if (virtioFormat(format) === undefined) {
    throw new CommandError("ERR_INVALID_PARAMETER", `invalid format ${format} of resource ${resource}`);
  }
  return { type: "create", resource, format, width, height };
}

function decodeAttach(command: Buffer): ControlCommand {
  const start = new Fields(command, ATTACH_BYTES);
  const [resource, count] = [start.u32(0), start.u32(4)];
  const { BACKING_ENTRIES } = GPU_LIMITS;
  if (count === 0 || count > BACKING_ENTRIES) {
    const text = `invalid nr_entries ${count} of resource ${resource}, from 1 to BACKING_ENTRIES ${BACKING_ENTRIES}: use a smaller buffer, or larger runs of pages`;
    throw new CommandError("ERR_INVALID_PARAMETER", text);
  }
  const fields = new Fields(command, ATTACH_BYTES + count * MEM_ENTRY_BYTES);
  const ranges = new Float64Array(count * RANGE_NUMBERS);
  for (let index = 0; index < count; index++) {
    const at = ATTACH_BYTES + index * MEM_ENTRY_BYTES;
    const address = fields.u32(at + 4) * 2 ** 32 + fields.u32(at);
    if (!Number.isSafeInteger(address)) {
      const text = `invalid backing of resource ${resource}: address 0x${address.toString(16)} is not below 2^53`;
      throw new CommandError("ERR_INVALID_PARAMETER", text);
    }
    ranges[index * RANGE_NUMBERS] = address;
    ranges[index * RANGE_NUMBERS + 1] = fields.u32(at + 8);
  }
  return { type: "attachBacking", resource, ranges };
}

/** The response to `command`, whose fence, context and ring it returns (5.7.6.7). */
export function encodeResponse(command: Buffer, response: GpuResponse): Buffer {
  switch (response.type) {
    case "ok":
      return header(command, Response.OK_NODATA, 0);
    case "error":
      return header(command, Response[response.error], 0);
    case "edid": {
      const bytes = header(command, Response.OK_EDID, 8 + EDID_BYTES);
      bytes.writeUInt32LE(response.edid.length, HEADER_BYTES);
      response.edid.copy(bytes, HEADER_BYTES + 8);
      return bytes;
    }
    case "displayInfo": {
      const bytes = header(command, Response.OK_DISPLAY_INFO, LIMITS.MAX_HEADS * DISPLAY_ONE_BYTES);
      response.heads.forEach(({ x, y, width, height }, head) => {
        [x, y, width, height, 1].forEach((field, index) => {
          bytes.writeUInt32LE(field, HEADER_BYTES + head * DISPLAY_ONE_BYTES + index * 4);
        });
      });
      return bytes;
    }
  }
}

function header(command: Buffer, type: number, bodyBytes: number): Buffer {
  const response = Buffer.alloc(HEADER_BYTES + bodyBytes);
  response.writeUInt32LE(type, 0);
  if (command.length < HEADER_BYTES) return response;
  const flags = command.readUInt32LE(FLAGS_OFFSET) & (FLAG_FENCE | FLAG_INFO_RING_IDX);
  if ((flags & FLAG_FENCE) === 0) return response;
  response.writeUInt32LE(flags, FLAGS_OFFSET);
  command.copy(response, FENCE_OFFSET, FENCE_OFFSET, HEADER_BYTES - PADDING_BYTES);
  return response;
}
