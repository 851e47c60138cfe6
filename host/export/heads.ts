/**
 * What the heads of one VM show, as its exporter announces it, for whoever looks at them later as well.
 *
 * An exporter tells a new connection of every connected head, also of those that show nothing; so a head is known from
 * its first announcement on, and stays known while the exporter is away.
 */
import type { CursorImage, Rectangle } from "../../proto/export.ts";
import { type Cursor, NO_CURSOR, type Scanout } from "./source.ts";

/** VIRTIO_GPU_MAX_SCANOUTS (virtio 1.2, 5.7.6.7): an exporter that names a head beyond it is not believed. */
const MAX_HEADS = 16;

export interface HeadWatcher {
  /** What the head shows from now on; resource 0: nothing; undefined: the exporter is away. */
  onScanout(scanout: Scanout | undefined): void;
  /** The guest has changed this part of the head's picture. */
  onDamage(rectangle: Rectangle): void;
  /** The pointer that is shown above the picture from now on; without an image there is none. */
  onCursor(cursor: Cursor): void;
}

export class Heads {
  readonly #known = new Map<number, Scanout | undefined>();
  readonly #cursors = new Map<number, Cursor>();
  readonly #watchers = new Map<number, Set<HeadWatcher>>();
  #onKnown: (head: number) => void = () => undefined;

  /** Calls back for every head, once: for those that are known and those that will be. */
  discover(onKnown: (head: number) => void): void {
    this.#onKnown = onKnown;
    for (const head of this.#known.keys()) onKnown(head);
  }

  /**
   * Tells the watcher what the head shows and with which pointer, before this returns, and every change.
   *
   * @returns ends it
   */
  watch(head: number, watcher: HeadWatcher): () => void {
    const watchers = this.#watchers.get(head) ?? new Set();
    this.#watchers.set(head, watchers.add(watcher));
    watcher.onScanout(this.#known.get(head));
    watcher.onCursor(this.#cursors.get(head) ?? NO_CURSOR);
    return () => void watchers.delete(watcher);
  }

  scanout(head: number, scanout: Scanout): void {
    if (head >= MAX_HEADS) return;
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

  /** The exporter has gone: nobody knows what the heads show. */
  lost(): void {
    for (const head of [...this.#cursors.keys()]) this.#setCursor(head, NO_CURSOR);
    for (const head of this.#known.keys()) {
      this.#known.set(head, undefined);
      for (const watcher of this.#watchersOf(head)) watcher.onScanout(undefined);
    }
  }

  #setCursor(head: number, cursor: Cursor): void {
    if (head >= MAX_HEADS) return;
    this.#cursors.set(head, cursor);
    for (const watcher of this.#watchersOf(head)) watcher.onCursor(cursor);
  }

  #watchersOf(head: number): HeadWatcher[] {
    return [...(this.#watchers.get(head) ?? [])];
  }
}
