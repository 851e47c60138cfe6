/**
 * What an exporter has to know about its resources so that ExportServer can serve them: the seam between "where
 * pixels live" and "who encodes".
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

/** Number of a memory that cannot be handed out. */
export const NOT_SHAREABLE = 0;

/** A resource that can be read. */
export interface ExportableResource {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** VIRTIO_GPU_FORMAT_*: what a head shows is read by it; a stream has its layout from the guest. */
  readonly format: number;
  readonly backing: {
    /** Never the same twice in the exporter's life. */
    readonly generation: number;
    /** In order. Memory NOT_SHAREABLE: these bytes cannot be handed out. */
    readonly extents: readonly Extent[];
    /** Number of the IOSurface that has the pixels instead; there are no extents then. */
    readonly surface?: number;
  };
}

/** Why a resource is not given. */
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

/** What a head has until its guest shows a pointer. */
export const NO_CURSOR: Cursor = { x: 0, y: 0, image: undefined };

export interface ExportSource {
  /** Kind and version, for the relay's log. */
  readonly software: string;
  /** The newest state of a resource. */
  lookUp(resource: number): LookUp;
  memory(id: number): SharedMemory | undefined;
  /** What a new connection is told of the heads. */
  scanouts(): readonly (Scanout & { readonly head: number })[];
  /** The pointers of the heads that show one; absent where there are none. */
  cursors?(): readonly (Cursor & { readonly head: number })[];
  /** Calls back when everything that was asked for earlier is carried out, so that look-ups see it. */
  whenSettled(listener: () => void): void;
}
