/** The errors of creating, writing and reading pictures. */

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
export function pictureError(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const Fault = FAULTS[String(error.code)];
  return Fault === undefined ? error : new Fault(error.message);
}
