/**
 * What the heads of one VM show, as its exporter announces it; kept for watchers that come later.
 *
 * An exporter announces every connected head to a new connection, also those that show nothing. So a head is known from
 * its first announcement on, and stays known while the exporter is away.
 */
import type { CursorImage, Rectangle } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { type Cursor, NO_CURSOR, type Scanout } from "./source.ts";

export interface HeadWatcher {
  /** What the head shows from now on; resource 0: nothing; undefined: the exporter is away. */
  onScanout(scanout: Scanout | undefined): void;
  /** The guest has changed this part of the head's picture. */
  onDamage(rectangle: Rectangle): void;
  /** The pointer above the picture from now on; without an image none is shown. */
  onCursor(cursor: Cursor): void;
}

export class Heads {
  readonly #known = new Map<number, Scanout | undefined>();
  readonly #cursors = new Map<number, Cursor>();
  readonly #watchers = new Map<number, Set<HeadWatcher>>();
  #onKnown: (head: number) => void = () => undefined;

  /** Calls `onKnown` once for every head that is known now or later. */
  discover(onKnown: (head: number) => void): void {
    this.#onKnown = onKnown;
    for (const head of this.#known.keys()) onKnown(head);
  }

  /**
   * Notifies the watcher of what the head shows and of its pointer, before this returns and at every change.
   *
   * @returns ends the notifications
   */
  watch(head: number, watcher: HeadWatcher): () => void {
    const watchers = this.#watchers.get(head) ?? new Set();
    this.#watchers.set(head, watchers.add(watcher));
    watcher.onScanout(this.#known.get(head));
    watcher.onCursor(this.#cursors.get(head) ?? NO_CURSOR);
    return () => void watchers.delete(watcher);
  }

  scanout(head: number, scanout: Scanout): void {
    if (head >= LIMITS.MAX_HEADS) return;
    const isNew = !this.#known.has(head);
    this.#known.set(head, scanout);
    if (isNew) this.#onKnown(head);
    for (const watcher of this.#watchersOf(head)) watcher.onScanout(scanout);
  }

  damage(head: number, rectangle: Rectangle): void {
    for (const watcher of this.#watchersOf(head)) watcher.onDamage(rectangle);
  }

  cursorImage(head: number, image: CursorImage | undefined): void {
    const { x, y } = this.#cursors.get(head) ?? NO_CURSOR;
    this.#setCursor(head, { x, y, image });
  }

  cursorPosition(head: number, x: number, y: number): void {
    this.#setCursor(head, { x, y, image: this.#cursors.get(head)?.image });
  }

  /** The exporter has gone: what the heads show is unknown. */
  lost(): void {
    for (const head of [...this.#cursors.keys()]) this.#setCursor(head, NO_CURSOR);
    for (const head of this.#known.keys()) {
      this.#known.set(head, undefined);
      for (const watcher of this.#watchersOf(head)) watcher.onScanout(undefined);
    }
  }

  #setCursor(head: number, cursor: Cursor): void {
    if (head >= LIMITS.MAX_HEADS) return;
    this.#cursors.set(head, cursor);
    for (const watcher of this.#watchersOf(head)) watcher.onCursor(cursor);
  }

  #watchersOf(head: number): HeadWatcher[] {
    return [...(this.#watchers.get(head) ?? [])];
  }
}
