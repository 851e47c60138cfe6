/**
 * One viewer's share of the pointer. A pointer moves far more often than a screen shows it, so the newest is sent, at most
 * once in CURSOR_MS and not while the socket is full of pictures; its image alone when it is another one.
 */
import type { CursorImage } from "../../proto/export.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import type { SourceCursor } from "./source.ts";

/** The connection to the viewer. */
export interface CursorOutlet {
  /** Whether the socket has more to send than it should. */
  readonly congested: boolean;
  send(message: OutgoingServerMessage): void;
}

export class CursorFeed {
  readonly #outlet: CursorOutlet;
  #newest: SourceCursor | undefined;
  /** What the viewer shows. */
  #shown: SourceCursor | undefined;
  /** The last image that the viewer was sent, shown or not. */
  #image: CursorImage | undefined;
  #pause: NodeJS.Timeout | undefined;

  constructor(outlet: CursorOutlet) {
    this.#outlet = outlet;
  }

  /** @param cursor without an image, or undefined: none */
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
