/**
 * Pictures: the bytes of guest resources as linear memory of this process.
 *
 * A resource's bytes lie in scattered pages of shared memories. `Picture.map` checks a layout (which a guest has
 * made up, so nothing of it is trusted) against the resource's extents and maps the pages one behind the other,
 * read-only, on a thread of libuv's pool. An encoder then reads the picture in place; JavaScript never sees a pixel.
 *
 * The mapping has users: the Picture, and each encode that has not read it yet. The last one unmaps. The work and
 * the checks are in media/picture.cc and media/linear_mapping.cc, this file gives them their types and errors.
 */
import { LIMITS } from "../../proto/limits.ts";
import { loadAddon } from "./load.ts";

/** A part of a picture, in pixels. */
export interface PictureRectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The bytes of one resource: its extents, one after the other. */
export interface ResourceBytes {
  /** `fd` is a descriptor of a memfd or file, needed only until `Picture.map` has returned; the rest is in bytes. */
  readonly extents: readonly { readonly fd: number; readonly offset: number; readonly length: number }[];
}

export interface PicturePlane {
  /** Planes that name the same object share one mapping. */
  readonly memory: ResourceBytes;
  /** Byte of the resource at which the first pixel begins. */
  readonly offset: number;
  /** Bytes from row to row. */
  readonly stride: number;
}

/** A picture as the guest describes it. */
export interface PictureLayout {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** DRM_FORMAT_* of drm_fourcc.h. */
  readonly fourcc: number;
  readonly planes: readonly PicturePlane[];
  /** The part that is encoded; it may begin at any pixel. */
  readonly visible: PictureRectangle;
}

/** A format that pictures may have. */
export interface PixelFormat {
  readonly fourcc: number;
  /** In GStreamer's words, e.g. "BGRx". */
  readonly name: string;
}

/** Base of the errors that `Picture.map` rejects with. */
export class PictureError extends Error {
  override readonly name: string = "PictureError";
}

/** A value that no layout can have: the message names the field and its limits. */
export class InvalidLayoutError extends PictureError {
  override readonly name = "InvalidLayoutError";
}

/** The fourcc, or the number of planes, is not one that the host reads. */
export class UnsupportedFormatError extends PictureError {
  override readonly name = "UnsupportedFormatError";
}

/** The layout names bytes that the resource does not have: the message has the byte numbers. */
export class LayoutOutsideResourceError extends PictureError {
  override readonly name = "LayoutOutsideResourceError";
}

/** The pages cannot be mapped linearly: unaligned runs, huge pages, or too many runs in this process. */
export class PictureUnstitchableError extends PictureError {
  override readonly name = "PictureUnstitchableError";
}

/** A descriptor is not a memory, an extent is not inside it, or the system refuses the mapping. */
export class PictureMapError extends PictureError {
  override readonly name = "PictureMapError";
}

/** Error classes by the codes of FaultCode() in media/picture_binding.cc. */
const FAULTS: Readonly<Record<string, new (message: string) => PictureError>> = {
  INVALID_LAYOUT: InvalidLayoutError,
  UNSUPPORTED_FORMAT: UnsupportedFormatError,
  LAYOUT_OUTSIDE_RESOURCE: LayoutOutsideResourceError,
  UNSTITCHABLE: PictureUnstitchableError,
  MAP_FAILED: PictureMapError,
};

/** PictureBinding in media/picture_binding.cc. */
export interface NativePicture {
  readonly runs: number;
  readonly bytes: number;
  close(): Promise<void>;
}

interface PictureAddon {
  mapPicture(layout: NativeLayout, extents: BigUint64Array[]): Promise<NativePicture>;
  pixelFormats(): PixelFormat[];
  mappedRuns(): number;
}

interface NativeLayout {
  readonly width: number;
  readonly height: number;
  readonly fourcc: number;
  readonly planes: readonly { resource: number; offset: number; stride: number }[];
  readonly visible: PictureRectangle;
}

let addon: PictureAddon | undefined;
const native = (): PictureAddon => {
  addon ??= loadAddon("media") as PictureAddon;
  return addon;
};

/** The formats that pictures may have, from the table in media/pixel_format.cc. */
export function pixelFormats(): readonly PixelFormat[] {
  return native().pixelFormats();
}

/** Runs of pages that this process has mapped now, of at most 16,384. */
export function mappedRuns(): number {
  return native().mappedRuns();
}

export class Picture {
  /** The layout's numbers; its descriptors mean nothing any more. */
  readonly layout: PictureLayout;
  /** Contiguous runs of memory that the picture was stitched from. */
  readonly runs: number;
  /** Linear bytes mapped. */
  readonly bytes: number;
  readonly #native: NativePicture;
  #closed: Promise<void> | undefined;

  private constructor(layout: PictureLayout, native: NativePicture) {
    this.layout = layout;
    this.runs = native.runs;
    this.bytes = native.bytes;
    this.#native = native;
  }

  /**
   * Checks the layout and maps it. The descriptors are duplicated before this returns; their owner may close them
   * without waiting for the promise.
   *
   * The promise rejects with InvalidLayoutError, UnsupportedFormatError, LayoutOutsideResourceError,
   * PictureUnstitchableError or PictureMapError.
   */
  static async map(layout: PictureLayout): Promise<Picture> {
    const resources: ResourceBytes[] = [];
    const planes = layout.planes.map((plane, index) => {
      let resource = resources.indexOf(plane.memory);
      if (resource < 0) resource = resources.push(plane.memory) - 1;
      return {
        resource,
        offset: whole(`planes[${index}].offset`, plane.offset),
        stride: whole(`planes[${index}].stride`, plane.stride),
      };
    });
    const { visible } = layout;
    const numbers: NativeLayout = {
      width: whole("width", layout.width),
      height: whole("height", layout.height),
      fourcc: whole("fourcc", layout.fourcc),
      planes,
      visible: {
        x: whole("visible.x", visible.x),
        y: whole("visible.y", visible.y),
        width: whole("visible.width", visible.width),
        height: whole("visible.height", visible.height),
      },
    };
    try {
      return new Picture(layout, await native().mapPicture(numbers, resources.map(packExtents)));
    } catch (error) {
      throw typed(error);
    }
  }

  /**
   * Gives up the picture. Encodes that have been queued still read it. Settles when it is unmapped, so that
   * whoever owns the memory can be told; a second call gives the same promise.
   */
  close(): Promise<void> {
    this.#closed ??= this.#native.close();
    return this.#closed;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** For the encoder's native side. @internal */
  get handle(): NativePicture {
    return this.#native;
  }
}

function whole(field: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidLayoutError(`${field} is ${value}, not a whole number from 0 to 2^53-1`);
}

/** Three numbers an extent: descriptor, offset, length. */
function packExtents({ extents }: ResourceBytes): BigUint64Array {
  if (extents.length > LIMITS.MAX_EXTENTS) {
    throw new PictureUnstitchableError(
      `the resource has ${extents.length} extents, at most ${LIMITS.MAX_EXTENTS} can be mapped`,
    );
  }
  const packed = new BigUint64Array(extents.length * 3);
  extents.forEach(({ fd, offset, length }, index) => {
    if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) {
      throw new InvalidLayoutError(`extents[${index}].fd is ${fd}, not a file descriptor`);
    }
    packed[index * 3] = BigInt(fd);
    packed[index * 3 + 1] = BigInt(whole(`extents[${index}].offset`, offset));
    packed[index * 3 + 2] = BigInt(whole(`extents[${index}].length`, length));
  });
  return packed;
}

function typed(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const Fault = FAULTS[String(error.code)];
  return Fault === undefined ? error : new Fault(error.message);
}
