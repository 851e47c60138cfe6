/** Why a picture cannot be made, written or read. */

/** Base of the errors of pictures. */
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

/** The resource has more extents than can be told. */
export class PictureUnstitchableError extends PictureError {
  override readonly name = "PictureUnstitchableError";
}

/** There is no staging memory to gather or receive the pixels in: too large, or too much in use in this process. */
export class PictureStagingError extends PictureError {
  override readonly name = "PictureStagingError";
}

/** A descriptor is not a memory, an extent is not inside it, or the system refuses the mapping. */
export class PictureMapError extends PictureError {
  override readonly name = "PictureMapError";
}

/** The pixels are in an IOSurface, and this host is no Mac. */
export class SurfaceUnsupportedError extends PictureError {
  override readonly name = "SurfaceUnsupportedError";
}

/** Error classes by the codes of FaultCode() in media/binding/layout_binding.cc. */
const FAULTS: Readonly<Record<string, new (message: string) => PictureError>> = {
  INVALID_LAYOUT: InvalidLayoutError,
  UNSUPPORTED_FORMAT: UnsupportedFormatError,
  LAYOUT_OUTSIDE_RESOURCE: LayoutOutsideResourceError,
  UNSTITCHABLE: PictureUnstitchableError,
  STAGING_SPENT: PictureStagingError,
  MAP_FAILED: PictureMapError,
};

/** The native error as one of the classes above. */
export function pictureError(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const Fault = FAULTS[String(error.code)];
  return Fault === undefined ? error : new Fault(error.message);
}
