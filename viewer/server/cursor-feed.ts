/**
 * Sends the pointer to one viewer: the newest position, at most once in CURSOR_MS and not while the socket is congested. The
 * image is sent only when it changes.
 */
import type { CursorImage } from "../../proto/export.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import type { SourceCursor } from "./source.ts";

/** The connection to the viewer. */
export interface CursorOutlet {
  /** Whether too much is waiting in the socket. */
  readonly congested: boolean;
  send(message: OutgoingServerMessage): void;
}

export class CursorFeed {
  readonly #outlet: CursorOutlet;
  #newest: SourceCursor | undefined;
  /** The pointer that the viewer shows. */
  #shown: SourceCursor | undefined;
  /** The last image that was sent, shown or not. */
  #image: CursorImage | undefined;
  #pause: NodeJS.Timeout | undefined;

  constructor(outlet: CursorOutlet) {
    this.#outlet = outlet;
  }

  /** @param cursor undefined, or without an image: no pointer */
  show(cursor: SourceCursor | undefined): void {
    this.#newest = cursor?.image === undefined ? undefined : cursor;
    if (this.#pause === undefined) this.#send();
  }

  close(): void {
    clearTimeout(this.#pause);
  }

  #send(): void {
    this.#pause = undefined;
    if (this.#newest === this.#shown) return;
    if (!this.#outlet.congested) {
      this.#outlet.send({ type: "cursor", body: this.#message(this.#newest) });
      this.#shown = this.#newest;
    }
    this.#pause = setTimeout(() => this.#send(), VIEWER_LIMITS.CURSOR_MS);
  }

  #message(cursor: SourceCursor | undefined): Extract<OutgoingServerMessage, { type: "cursor" }>["body"] {
    if (cursor?.image === undefined) return { visible: false };
    const { x, y, image } = cursor;
    if (image === this.#image) return { visible: true, x, y };
    this.#image = image;
    return { visible: true, x, y, image };
  }
}
