/**
 * Pictures that no resource holds: their pixels come with each frame, in messages.
 *
 * Theory of operation. An InlinePicture is a layout and up to MAX_IN_FLIGHT_FRAMES slots of staging memory, made when
 * they are first needed. `beginFrame` takes a slot that nobody reads, `write` fills it, `encode` of a session reads
 * it, `close` gives it back; it is taken again only when that read, too, is over. So one frame can be received while
 * others are converted, and none is ever overwritten. A layout whose slots would need more than 256 MiB each is
 * refused, and so is a slot when the process has 1 GiB of staging memory.
 */
import { LIMITS } from "../../proto/limits.ts";
import {
  createInline,
  type NativePicture,
  type PictureChecksum,
  PictureError,
  type PictureGeometry,
} from "./picture.ts";

/** All slots hold frames that have not been read yet. */
export class PictureBusyError extends PictureError {
  override readonly name = "PictureBusyError";
}

/** The bytes do not lie inside the frame, or it is closed. */
export class InlineWriteError extends PictureError {
  override readonly name = "InlineWriteError";
}

interface Slot {
  readonly native: NativePicture;
  /** A frame that has not been closed has it. */
  taken: boolean;
}

/** The pixels of one frame, on their way in. */
export class InlineFrame {
  readonly #picture: InlinePicture;
  readonly #slot: Slot;
  #closed = false;

  /** By `InlinePicture.beginFrame`. @internal */
  constructor(picture: InlinePicture, slot: Slot) {
    this.#picture = picture;
    this.#slot = slot;
    slot.taken = true;
  }

  get layout(): PictureGeometry {
    return this.#picture.layout;
  }

  /** Bytes that a frame has: from byte 0 to the end of its last plane. */
  get bytes(): number {
    return this.#picture.bytes;
  }

  /**
   * Copies bytes of the frame to where they belong. What is never written has the bytes of an earlier frame of the
   * same picture, or zeros: whoever encodes sees to it that all are there. Not after the frame was given to `encode`.
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

  /** Gives the frame up. An encode that has been queued still reads it. Harmless a second time. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#slot.taken = false;
  }

  /** Also when its picture is. */
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
  /** Bytes that each frame has. */
  readonly bytes: number;
  /** Runs of guest memory: there is none. */
  readonly runs = 0;
  readonly #slots: Slot[];
  #last: Slot;
  #closed: Promise<void> | undefined;

  /**
   * Checks the layout, and makes the first slot.
   *
   * @throws InvalidLayoutError, UnsupportedFormatError, LayoutOutsideResourceError, PictureStagingError
   */
  constructor(layout: PictureGeometry) {
    this.layout = layout;
    const native = createInline(layout);
    this.bytes = native.bytes;
    this.#last = { native, taken: false };
    this.#slots = [this.#last];
  }

  /**
   * Room for the next frame. Whoever begins a frame closes it.
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
    const slot = { native: createInline(this.layout), taken: false };
    this.#slots.push(slot);
    return slot;
  }

  /** Reads the frame that was begun last, as far as it has been written; zeros before the first. */
  async checksum(): Promise<PictureChecksum> {
    if (this.#closed !== undefined) throw new PictureError("the picture is closed");
    return await this.#last.native.checksum();
  }

  /** Gives up the picture and its frames. Encodes that have been queued still read them; settles after the last. */
  close(): Promise<void> {
    this.#closed ??= Promise.all(this.#slots.map(({ native }) => native.close())).then(() => undefined);
    return this.#closed;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }
}
