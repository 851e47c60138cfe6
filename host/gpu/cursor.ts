/**
 * The pointers of the heads, which a display shows above the picture (virtio 1.2, 5.7.6.10, "cursorq").
 *
 * The image is taken when the driver says that it is complete, since nothing tells when the driver draws the next one
 * into the same pages. It is read by guest addresses, because shared memory of some systems can only be mapped.
 */
import type { CursorImage } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { type Cursor, NO_CURSOR } from "../export/source.ts";
import type { GuestMemory } from "../native/guest-memory.ts";
import { HEADER_BYTES, MAX_HEADS, Response } from "./constants.ts";
import { CommandError, type Resource } from "./resources.ts";

const PIXEL_BYTES = 4;
const SIDE = LIMITS.CURSOR_SIDE;

/** struct virtio_gpu_update_cursor. */
export const CURSOR_COMMAND_BYTES = HEADER_BYTES + 32;

/**
 * Where red, green, blue and alpha are in a pixel, by enum virtio_gpu_formats (5.7.6.8). The byte that a format leaves
 * unused is alpha here too: Linux makes every buffer of DRM_IOCTL_MODE_CREATE_DUMB B8G8R8X8, and X servers draw
 * pointers into those.
 */
const BYTE_ORDERS: Readonly<Record<number, readonly [number, number, number, number]>> = {
  1: [2, 1, 0, 3],
  2: [2, 1, 0, 3],
  3: [1, 2, 3, 0],
  4: [1, 2, 3, 0],
  67: [0, 1, 2, 3],
  68: [3, 2, 1, 0],
  121: [3, 2, 1, 0],
  134: [0, 1, 2, 3],
};

export interface CursorCommand {
  readonly head: number;
  readonly x: number;
  readonly y: number;
  /** Of the image, where it is one that changes it; 0: none is shown. */
  readonly resource: number;
}

/** Fields of UPDATE_CURSOR and MOVE_CURSOR. The place may lie left of the picture or above it. */
export function readCursorCommand(command: Buffer): CursorCommand {
  return {
    head: command.readUInt32LE(HEADER_BYTES),
    x: command.readInt32LE(HEADER_BYTES + 4),
    y: command.readInt32LE(HEADER_BYTES + 8),
    resource: command.readUInt32LE(HEADER_BYTES + 16),
  };
}

/** @throws CommandError if the resource has no image of a pointer */
export function readCursorImage(resource: Resource, memory: GuestMemory | undefined): CursorImage {
  const { id, width, height, format, backing } = resource;
  const order = BYTE_ORDERS[format];
  if (width !== SIDE || height !== SIDE || order === undefined) {
    throw new CommandError(
      Response.ERR_INVALID_PARAMETER,
      `resource ${id} of ${width}x${height} cannot be a pointer, which has ${SIDE}x${SIDE} pixels`,
    );
  }
  const pixels = readBytes(backing?.addresses ?? [], width * height * PIXEL_BYTES, memory);
  if (pixels === undefined) {
    throw new CommandError(Response.ERR_UNSPEC, `the pages of resource ${id} do not hold a pointer's image`);
  }
  return { width, height, pixels: toRgba(pixels, order) };
}

/** Undefined if there are fewer, or some are outside the guest's memory. */
function readBytes(
  ranges: readonly { readonly address: number; readonly length: number }[],
  bytes: number,
  memory: GuestMemory | undefined,
): Buffer | undefined {
  const parts: Buffer[] = [];
  let left = bytes;
  for (const { address, length } of ranges) {
    const part = memory?.read(address, Math.min(length, left));
    if (part === undefined) return undefined;
    parts.push(part);
    left -= part.length;
    if (left === 0) return Buffer.concat(parts);
  }
  return undefined;
}

function toRgba(pixels: Buffer, order: readonly number[]): Buffer {
  const rgba = Buffer.alloc(pixels.length);
  for (let at = 0; at < pixels.length; at += PIXEL_BYTES) {
    order.forEach((from, to) => {
      rgba[at + to] = pixels[at + from] ?? 0;
    });
  }
  return rgba;
}

/** The pointers of all heads. */
export class Cursors {
  readonly #cursors: Cursor[] = new Array<Cursor>(MAX_HEADS).fill(NO_CURSOR);

  /** By head, MAX_HEADS of them. */
  get all(): readonly Cursor[] {
    return this.#cursors;
  }

  set(head: number, cursor: Cursor): void {
    this.#cursors[head] = cursor;
  }

  move(head: number, x: number, y: number): void {
    this.#cursors[head] = { x, y, image: this.#cursors[head]?.image };
  }

  /** No head shows one any more. Gives those that did. */
  clear(): readonly number[] {
    const shown = [...this.#cursors.keys()].filter((head) => this.#cursors[head]?.image !== undefined);
    this.#cursors.fill(NO_CURSOR);
    return shown;
  }
}
