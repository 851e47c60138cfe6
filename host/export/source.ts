/**
 * The interface between ExportServer and an exporter's resources: the seam between "where pixels live" and "who encodes".
 */
import type { CursorImage, ExportErrorCode, Extent, Rectangle } from "../../proto/export.ts";

/** A memory that resources lie in. */
export interface SharedMemory {
  /** From 1. */
  readonly id: number;
  /** In bytes. */
  readonly size: number;
  /** Read-only; open as long as the exporter serves. */
  readonly descriptor: number;
}

/** Number of a memory that cannot be shared. */
export const NOT_SHAREABLE = 0;

/** A resource that can be read. */
export interface ExportableResource {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** VIRTIO_GPU_FORMAT_*, for pictures of heads; a stream gets its layout from the guest. */
  readonly format: number;
  readonly backing: {
    /** Never the same twice in the exporter's life. */
    readonly generation: number;
    /** In order. Memory NOT_SHAREABLE: these bytes cannot be shared. */
    readonly extents: readonly Extent[];
    /** Number of the IOSurface that has the pixels instead; there are no extents then. */
    readonly surface?: number;
  };
}

/** Why a resource is refused. */
export interface Refusal {
  readonly code: ExportErrorCode;
  readonly text: string;
}

export type LookUp =
  | { readonly kind: "found"; readonly resource: ExportableResource }
  | { readonly kind: "refused"; readonly refusal: Refusal };

/** What a head shows; resource 0: nothing. */
export interface Scanout {
  readonly resource: number;
  readonly rectangle: Rectangle;
}

/** The pointer that a head shows above its picture. */
export interface Cursor {
  /** Of the image's first pixel, in the head's picture; it may lie outside. */
  readonly x: number;
  readonly y: number;
  /** Undefined: none is shown. */
  readonly image: CursorImage | undefined;
}

/** The state until the guest shows a pointer. */
export const NO_CURSOR: Cursor = { x: 0, y: 0, image: undefined };

export interface ExportSource {
  /** Kind and version, for the relay's log. */
  readonly software: string;
  /** The newest state of a resource. */
  lookUp(resource: number): LookUp;
  memory(id: number): SharedMemory | undefined;
  /** The heads that are announced to a new connection. */
  scanouts(): readonly (Scanout & { readonly head: number })[];
  /** The pointers of the heads that show one; absent where there are none. */
  cursors?(): readonly (Cursor & { readonly head: number })[];
  /** Calls `listener` when everything that was requested before is carried out, so that look-ups see it. */
  whenSettled(listener: () => void): void;
}
