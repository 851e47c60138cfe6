/**
 * Sends the pointer to one viewer: the newest position, at most once in CURSOR_MS and not while the socket is congested. The
 * image is sent only when it changes.
 */
import type { CursorImage } from "../../proto/export.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import type { Watcher } from "./hub.ts";
import type { SourceCursor } from "./source.ts";

type Viewer = Pick<Watcher, "congested" | "send">;

export class CursorFeed {
  readonly #viewer: Viewer;
  #newest: SourceCursor | undefined;
  /** The pointer that the viewer shows. */
  #shown: SourceCursor | undefined;
  /** The last image that was sent, shown or not. */
  #image: CursorImage | undefined;
  #pause: NodeJS.Timeout | undefined;

  constructor(viewer: Viewer) {
    this.#viewer = viewer;
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
    if (!this.#viewer.congested) {
      this.#viewer.send({ type: "cursor", body: this.#message(this.#newest) });
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
