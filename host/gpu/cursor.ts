/**
 * The pointers of the heads, which a display shows above the picture (virtio 1.2, 5.7.6.10, "cursorq").
 *
 * The image is read when the driver says that it is complete, because nothing announces that the driver draws the next
 * one into the same pages. It is read by guest addresses, because shared memory of some systems can only be mapped.
 */
import type { CursorImage } from "../../proto/export.ts";
import { PACKED_PIXEL_BYTES, virtioFormat } from "../../proto/formats.ts";
import { LIMITS } from "../../proto/limits.ts";
import { type Cursor, NO_CURSOR } from "../export/source.ts";
import type { AddressRange, GuestMemory } from "../native/guest-memory.ts";
import { CommandError } from "./commands.ts";
import type { Resource } from "./resources.ts";

const SIDE = LIMITS.CURSOR_SIDE;

/**
 * Offsets of red, green, blue and alpha in a pixel, from the format's name. An unused byte counts as alpha: Linux makes
 * every buffer of DRM_IOCTL_MODE_CREATE_DUMB B8G8R8X8, and X servers draw pointers into those.
 */
function byteOrder(name: string): readonly number[] {
  return [..."RGBA"].map((component) => name.replace("x", "A").indexOf(component));
}

/** @throws CommandError if the resource has no image of a pointer */
export function readCursorImage(resource: Resource, memory: GuestMemory | undefined): CursorImage {
  const { id, width, height, format, backing } = resource;
  const known = virtioFormat(format);
  if (width !== SIDE || height !== SIDE || known === undefined) {
    throw new CommandError(
      "ERR_INVALID_PARAMETER",
      `resource ${id} of ${width}x${height} cannot be a pointer, which has ${SIDE}x${SIDE} pixels`,
    );
  }
  const pixels = readBytes(backing?.addresses ?? [], width * height * PACKED_PIXEL_BYTES, memory);
  if (pixels === undefined) {
    throw new CommandError("ERR_UNSPEC", `the pages of resource ${id} are too few for a pointer's image`);
  }
  return { width, height, pixels: toRgba(pixels, byteOrder(known.name)) };
}

/** The first `bytes` bytes; undefined if there are fewer, or some are outside the guest's memory. */
function readBytes(
  ranges: readonly AddressRange[],
  bytes: number,
  memory: GuestMemory | undefined,
): Buffer | undefined {
  const parts: Buffer[] = [];
  let left = bytes;
  for (const { address, length } of ranges) {
    const part = memory?.read(address, Math.min(length, left)) ?? undefined;
    if (part === undefined) return undefined;
    parts.push(part);
    left -= part.length;
    if (left === 0) return Buffer.concat(parts);
  }
  return undefined;
}

function toRgba(pixels: Buffer, order: readonly number[]): Buffer {
  const rgba = Buffer.alloc(pixels.length);
  for (let at = 0; at < pixels.length; at += PACKED_PIXEL_BYTES) {
    order.forEach((from, to) => {
      rgba[at + to] = pixels[at + from] ?? 0;
    });
  }
  return rgba;
}

/** The pointers of all heads. */
export class Cursors {
  readonly #cursors: Cursor[] = new Array<Cursor>(LIMITS.MAX_HEADS).fill(NO_CURSOR);

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

  /** No head shows a pointer any more. Returns the heads that did. */
  clear(): readonly number[] {
    const shown = [...this.#cursors.keys()].filter((head) => this.#cursors[head]?.image !== undefined);
    this.#cursors.fill(NO_CURSOR);
    return shown;
  }
}
