/**
 * Pictures that are in no resource: their pixels arrive with each frame, in messages.
 *
 * Theory of operation. An InlinePicture is a layout and up to MAX_IN_FLIGHT_FRAMES slots of staging memory, allocated
 * when they are first needed. `beginFrame` takes an idle slot, `write` fills it, a session's `encode` reads it, `close`
 * returns it; it is reused only after that read. So one frame can be received while others are converted, and none is
 * ever overwritten. The limits are 256 MiB for each slot, and the VM's
 * PictureBudget.
 */
import { LIMITS } from "../../proto/limits.ts";
import {
  createInline,
  type NativePicture,
  type PictureBudget,
  type PictureChecksum,
  PictureError,
  type PictureGeometry,
} from "./picture.ts";

/** All slots hold frames that have not been read yet. */
export class PictureBusyError extends PictureError {
  override readonly name = "PictureBusyError";
}

/** The frame does not have those bytes, or it is closed. */
export class InlineWriteError extends PictureError {
  override readonly name = "InlineWriteError";
}

interface Slot {
  readonly native: NativePicture;
  /** An open frame uses it. */
  taken: boolean;
}

/** The pixels of one frame that is being received. */
export class InlineFrame {
  readonly #picture: InlinePicture;
  readonly #slot: Slot;
  #closed = false;

  /** Use `InlinePicture.beginFrame`. @internal */
  constructor(picture: InlinePicture, slot: Slot) {
    this.#picture = picture;
    this.#slot = slot;
    slot.taken = true;
  }

  get layout(): PictureGeometry {
    return this.#picture.layout;
  }

  /** Size of a frame: from byte 0 to the end of its last plane. */
  get bytes(): number {
    return this.#picture.bytes;
  }

  /**
   * Copies bytes of the frame to their offset. Bytes that are never written are those of an earlier frame of the same
   * picture, or zeros: the caller must write all of them. Not after the frame was passed to `encode`.
   *
   * @throws InlineWriteError
   */
  write(offset: number, bytes: Uint8Array): void {
    if (this.closed) throw new InlineWriteError("the frame is closed");
    if (!this.#slot.native.isIdle()) throw new InlineWriteError("the frame is being read");
    if (!Number.isSafeInteger(offset) || !this.#slot.native.write(offset, bytes)) {
      throw new InlineWriteError(
        `${bytes.length} bytes at ${offset} are not inside the frame's ${this.bytes} bytes`,
      );
    }
  }

  /** Releases the frame. A queued encode still reads it. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#slot.taken = false;
  }

  /** Also true when its picture is closed. */
  get closed(): boolean {
    return this.#closed || this.#picture.closed;
  }

  /** For the encoder's native side. @internal */
  get handle(): NativePicture {
    return this.#slot.native;
  }
}

export class InlinePicture {
  readonly tier = "inline";
  /** Offsets and strides are those of a frame's bytes. */
  readonly layout: PictureGeometry;
  /** Size of each frame. */
  readonly bytes: number;
  /** It uses no guest memory. */
  readonly runs = 0;
  readonly #budget: PictureBudget;
  readonly #slots: Slot[];
  #last: Slot;
  #closed: Promise<void> | undefined;

  /**
   * Checks the layout, and makes the first slot.
   *
   * @throws InvalidLayoutError, UnsupportedFormatError, LayoutOutsideResourceError, PictureStagingError
   */
  constructor(layout: PictureGeometry, budget: PictureBudget) {
    this.layout = layout;
    this.#budget = budget;
    const native = createInline(layout, budget);
    this.bytes = native.bytes;
    this.#last = { native, taken: false };
    this.#slots = [this.#last];
  }

  /**
   * Allocates the next frame. The caller must close it.
   *
   * @throws PictureBusyError when MAX_IN_FLIGHT_FRAMES frames are open or have still to be read (the limit of frames
   *   in flight prevents that); PictureStagingError; PictureError when the picture is closed
   */
  beginFrame(): InlineFrame {
    if (this.#closed !== undefined) throw new PictureError("the picture is closed");
    this.#last = this.#slots.find(({ native, taken }) => !taken && native.isIdle()) ?? this.#grow();
    return new InlineFrame(this, this.#last);
  }

  #grow(): Slot {
    if (this.#slots.length >= LIMITS.MAX_IN_FLIGHT_FRAMES) {
      throw new PictureBusyError(
        `${LIMITS.MAX_IN_FLIGHT_FRAMES} frames of the picture have not been read yet; wait for one`,
      );
    }
    const slot = { native: createInline(this.layout, this.#budget), taken: false };
    this.#slots.push(slot);
    return slot;
  }

  /** Reads the frame that was begun last, as far as it has been written; zeros before the first. */
  async checksum(): Promise<PictureChecksum> {
    if (this.#closed !== undefined) throw new PictureError("the picture is closed");
    return await this.#last.native.checksum();
  }

  /** Releases the picture and its frames. Queued encodes still read them; settles after the last. */
  close(): Promise<void> {
    this.#closed ??= Promise.all(this.#slots.map(({ native }) => native.close())).then(() => undefined);
    return this.#closed;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }
}
