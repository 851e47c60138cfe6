/**
 * Pictures: the bytes of guest resources as linear memory of this process.
 *
 * A resource's bytes lie in scattered pages of shared memories. `Picture.map` checks a layout (from the guest, so
 * untrusted) against the resource's extents and maps the pages side by side, read-only; an encoder reads the picture in
 * place. What cannot be mapped is copied together at each read (tier "resource-gather"). Pixels that are in no resource
 * are in inline-picture.ts. The mapping has users: the Picture, and each encode that has not read it yet. The last one
 * unmaps.
 */

import { loadAddon } from "../../common/load-addon.ts";
import { LIMITS } from "../../proto/limits.ts";

/** Base of the errors of pictures. */
export class PictureError extends Error {
  override readonly name: string = "PictureError";
}

/** A value outside its limits: the message names the field and the limits. */
export class InvalidLayoutError extends PictureError {
  override readonly name = "InvalidLayoutError";
}

/** The host does not support the fourcc, or the number of planes. */
export class UnsupportedFormatError extends PictureError {
  override readonly name = "UnsupportedFormatError";
}

/** The layout needs bytes that the resource does not have: the message has the byte numbers. */
export class LayoutOutsideResourceError extends PictureError {
  override readonly name = "LayoutOutsideResourceError";
}

/** The resource has more extents than the limit. */
export class PictureUnstitchableError extends PictureError {
  override readonly name = "PictureUnstitchableError";
}

/** Not enough staging memory to gather or receive the pixels: the picture is too large, or others use too much. */
export class PictureStagingError extends PictureError {
  override readonly name = "PictureStagingError";
}

/** A descriptor is not memory, an extent is not inside it, or the system rejects the mapping. */
export class PictureMapError extends PictureError {
  override readonly name = "PictureMapError";
}

/** The pixels are in an IOSurface, and this host is not a Mac. */
export class SurfaceUnsupportedError extends PictureError {
  override readonly name = "SurfaceUnsupportedError";
}

/** Error classes by the codes of FaultCode() in media/binding/picture_binding.cc. */
const FAULTS: Readonly<Record<string, new (message: string) => PictureError>> = {
  INVALID_LAYOUT: InvalidLayoutError,
  UNSUPPORTED_FORMAT: UnsupportedFormatError,
  LAYOUT_OUTSIDE_RESOURCE: LayoutOutsideResourceError,
  UNSTITCHABLE: PictureUnstitchableError,
  STAGING_SPENT: PictureStagingError,
  MAP_FAILED: PictureMapError,
};

/** The native error as one of the classes above. */
function pictureError(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const Fault = FAULTS[String(error.code)];
  return Fault === undefined ? error : new Fault(error.message);
}

/** A part of a picture, in pixels. */
export interface PictureRectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The bytes of one resource: its extents in order. */
export interface ResourceBytes {
  /** `fd` is a descriptor of a memfd or file, needed only until `Picture.map` has returned; the rest is in bytes. */
  readonly extents: readonly { readonly fd: number; readonly offset: number; readonly length: number }[];
}

/** A resource whose pixels are in an IOSurface of macOS. */
export interface ResourceSurface {
  /** IOSurfaceID; the surface must exist until `Picture.map` has settled. The picture retains it from then on. */
  readonly surface: number;
}

export interface PlaneGeometry {
  /** Byte at which the first pixel begins: of the resource, or of an inline frame. */
  readonly offset: number;
  /** Bytes from row to row. */
  readonly stride: number;
}

export interface PicturePlane extends PlaneGeometry {
  /** Planes that name the same object share one mapping. */
  readonly memory: ResourceBytes | ResourceSurface;
}

/** A picture as the guest describes it, wherever its bytes are. */
export interface PictureGeometry {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** DRM_FORMAT_* of drm_fourcc.h. */
  readonly fourcc: number;
  readonly planes: readonly PlaneGeometry[];
  /** The part to encode; it begins at any pixel of RGB, at even ones of NV12 and I420. */
  readonly visible: PictureRectangle;
}

/** A picture in memory that can be mapped. */
export interface PictureLayout extends PictureGeometry {
  readonly planes: readonly PicturePlane[];
}

/** Pixels are read in place, copied together for each read, copied by the exporter, or received in messages. */
export type PictureTier = "resource" | "resource-gather" | "resource-read" | "inline";

/** Of the visible pixels: each plane's rows without padding, top to bottom, plane after plane. */
export interface PictureChecksum {
  /** CRC-32 (IEEE 802.3). */
  readonly crc: number;
  readonly bytes: number;
}

/** A format that pictures may have. */
export interface PixelFormat {
  readonly fourcc: number;
  /** GStreamer's, e.g. "BGRx". */
  readonly name: string;
}

/** PictureBinding in media/binding/picture_binding.cc. */
export interface NativePicture {
  readonly tier: PictureTier;
  readonly runs: number;
  readonly bytes: number;
  /** False when the picture does not have those bytes. Only for an inline picture that is idle. */
  write(offset: number, bytes: Uint8Array): boolean;
  /** No encode or checksum will read it. */
  isIdle(): boolean;
  checksum(): Promise<PictureChecksum>;
  close(): Promise<void>;
}

declare const nativeBudget: unique symbol;
/** The addon's part of a PictureBudget. */
interface NativeBudget {
  readonly [nativeBudget]: true;
}

interface PictureAddon {
  newBudget(runs: number): NativeBudget;
  inlinePicture(layout: NativeLayout, budget: NativeBudget): NativePicture;
  /** Only if built with VideoToolbox (videotoolbox/videotoolbox_binding.cc). */
  readonly surfacePicture?: (layout: NativeLayout, id: number, budget: NativeBudget) => NativePicture;
  mapPicture(layout: NativeLayout, extents: BigUint64Array[], budget: NativeBudget): Promise<NativePicture>;
  pixelFormats(): PixelFormat[];
  mappedRuns(): number;
  stagingBytes(): number;
}

interface NativeLayout extends PictureGeometry {
  readonly planes: readonly (PlaneGeometry & { readonly resource: number })[];
}

const native = () => loadAddon("media") as PictureAddon;

/** The formats that pictures may have, from the table in media/picture/picture.cc. */
export function pixelFormats(): readonly PixelFormat[] {
  return native().pixelFormats();
}

/** Number of runs of pages that this process has mapped. */
export function mappedRuns(): number {
  return native().mappedRuns();
}

/** Staging memory of one VM's pictures, in bytes. */
export const MAX_STAGING_BYTES = 2 ** 30;

/** Bounds the pictures of one VM, so that none takes another's: mapped runs, and MAX_STAGING_BYTES. */
export class PictureBudget {
  /** For the native side. @internal */
  readonly handle: NativeBudget;

  /**
   * @param runs of pages that may be mapped; pictures over the limit are gathered. Each run costs one of the kernel's
   *   vm.max_map_count, which is the process's
   * @throws RangeError unless it is a whole number from 0 to 2^31-1
   */
  constructor(runs: number) {
    if (!Number.isInteger(runs) || runs < 0 || runs > 0x7fffffff) {
      throw new RangeError(`the run budget is ${runs}, expected a whole number from 0 to ${0x7fffffff}`);
    }
    this.handle = native().newBudget(runs);
  }
}

/** Bytes of staging memory in use in this process. */
export function stagingBytes(): number {
  return native().stagingBytes();
}

/**
 * Room for the pixels of one inline frame.
 *
 * @throws InvalidLayoutError, UnsupportedFormatError, LayoutOutsideResourceError, PictureStagingError
 */
export function createInline(layout: PictureGeometry, budget: PictureBudget): NativePicture {
  const numbers = checkNumbers(
    layout,
    layout.planes.map(() => 0),
  );
  try {
    return native().inlinePicture(numbers, budget.handle);
  } catch (error) {
    throw pictureError(error);
  }
}

export class Picture {
  /** The layout's numbers; its descriptors may be closed. */
  readonly layout: PictureLayout;
  readonly tier: PictureTier;
  /** Contiguous runs of memory that the picture consists of. */
  readonly runs: number;
  /** Linear bytes mapped, or copied for each read. */
  readonly bytes: number;
  readonly #native: NativePicture;
  #closed: Promise<void> | undefined;

  private constructor(layout: PictureLayout, native: NativePicture) {
    this.layout = layout;
    this.tier = native.tier;
    this.runs = native.runs;
    this.bytes = native.bytes;
    this.#native = native;
  }

  /**
   * Checks the layout and maps it. The descriptors are duplicated before this returns: the caller may close them
   * without waiting for the promise.
   *
   * An IOSurface must have the layout's size and format; its own offsets and strides apply. It counts as in use until
   * the picture is closed. VideoToolbox reads it in place, other encoders read a copy.
   *
   * The promise rejects with InvalidLayoutError, UnsupportedFormatError, LayoutOutsideResourceError,
   * PictureUnstitchableError, PictureStagingError, PictureMapError or SurfaceUnsupportedError.
   */
  static async map(layout: PictureLayout, { handle }: PictureBudget): Promise<Picture> {
    const resources: (ResourceBytes | ResourceSurface)[] = [];
    const indices = layout.planes.map(({ memory }) => {
      const known = resources.indexOf(memory);
      return known >= 0 ? known : resources.push(memory) - 1;
    });
    const numbers = checkNumbers(layout, indices);
    const memories = resources.filter((each) => "extents" in each);
    const surface = resources.find((each) => "surface" in each)?.surface;
    if (surface !== undefined && resources.length > 1) {
      throw new InvalidLayoutError(`a plane is in IOSurface ${surface}, another one elsewhere`);
    }
    try {
      if (surface === undefined) {
        return new Picture(layout, await native().mapPicture(numbers, memories.map(packExtents), handle));
      }
      const { surfacePicture } = native();
      if (surfacePicture !== undefined) return new Picture(layout, surfacePicture(numbers, surface, handle));
    } catch (error) {
      throw pictureError(error);
    }
    throw new SurfaceUnsupportedError(
      `the pixels are in IOSurface ${surface}, which needs macOS: this host's native addon was built without it`,
    );
  }

  /**
   * Reads the picture once, on a thread of libuv's pool.
   *
   * The promise rejects with PictureStagingError or PictureMapError when it cannot be gathered.
   */
  async checksum(): Promise<PictureChecksum> {
    try {
      return await this.#native.checksum();
    } catch (error) {
      throw pictureError(error);
    }
  }

  /**
   * Releases the picture. Queued encodes still read it. Settles when it is unmapped, and the memory can be released;
   * a second call returns the same promise.
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

/** @throws InvalidLayoutError unless all are whole numbers */
function checkNumbers(layout: PictureGeometry, resources: readonly number[]): NativeLayout {
  const { visible } = layout;
  return {
    width: whole("width", layout.width),
    height: whole("height", layout.height),
    fourcc: whole("fourcc", layout.fourcc),
    planes: layout.planes.map(({ offset, stride }, index) => ({
      resource: resources[index] ?? 0,
      offset: whole(`planes[${index}].offset`, offset),
      stride: whole(`planes[${index}].stride`, stride),
    })),
    visible: {
      x: whole("visible.x", visible.x),
      y: whole("visible.y", visible.y),
      width: whole("visible.width", visible.width),
      height: whole("visible.height", visible.height),
    },
  };
}

function whole(field: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidLayoutError(`${field} is ${value}, expected a whole number from 0 to 2^53-1`);
}

/** Resources that are mapped again and again are packed once. */
const packedExtents = new WeakMap<ResourceBytes, BigUint64Array>();

/** Three numbers an extent: descriptor, offset, length. */
function packExtents(memory: ResourceBytes): BigUint64Array {
  const known = packedExtents.get(memory);
  if (known !== undefined) return known;
  const { extents } = memory;
  if (extents.length > LIMITS.MAX_EXTENTS) {
    throw new PictureUnstitchableError(
      `the resource has ${extents.length} extents, at most ${LIMITS.MAX_EXTENTS} can be mapped`,
    );
  }
  const packed = new BigUint64Array(extents.length * 3);
  extents.forEach(({ fd, offset, length }, index) => {
    if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) {
      throw new InvalidLayoutError(`extents[${index}].fd is ${fd}, expected a file descriptor`);
    }
    packed[index * 3] = BigInt(fd);
    packed[index * 3 + 1] = BigInt(whole(`extents[${index}].offset`, offset));
    packed[index * 3 + 2] = BigInt(whole(`extents[${index}].length`, length));
  });
  packedExtents.set(memory, packed);
  return packed;
}
