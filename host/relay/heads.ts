/**
 * What the heads of one VM show, as its exporter announces it, for whoever looks at them later as well.
 *
 * An exporter tells a new connection of every connected head, also of those that show nothing; so a head is known from
 * its first announcement on, and stays known while the exporter is away.
 */
import type { Rectangle } from "../../proto/export.ts";
import type { Scanout } from "../exporters/export-source.ts";

/** VIRTIO_GPU_MAX_SCANOUTS (virtio 1.2, 5.7.6.7): an exporter that names a head beyond it is not believed. */
const MAX_HEADS = 16;

export interface HeadWatcher {
  /** What the head shows from now on; resource 0: nothing; undefined: the exporter is away. */
  onScanout(scanout: Scanout | undefined): void;
  /** The guest has changed this part of the head's picture. */
  onDamage(rectangle: Rectangle): void;
}

export class Heads {
  readonly #known = new Map<number, Scanout | undefined>();
  readonly #watchers = new Map<number, Set<HeadWatcher>>();
  #onKnown: (head: number) => void = () => undefined;

  /** Calls back for every head, once: for those that are known and those that will be. */
  discover(onKnown: (head: number) => void): void {
    this.#onKnown = onKnown;
    for (const head of this.#known.keys()) onKnown(head);
  }

  /**
   * Tells the watcher what the head shows, before this returns, and every change.
   *
   * @returns ends it
   */
  watch(head: number, watcher: HeadWatcher): () => void {
    const watchers = this.#watchers.get(head) ?? new Set();
    this.#watchers.set(head, watchers.add(watcher));
    watcher.onScanout(this.#known.get(head));
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

  /** The exporter has gone: nobody knows what the heads show. */
  lost(): void {
    for (const head of this.#known.keys()) {
      this.#known.set(head, undefined);
      for (const watcher of this.#watchersOf(head)) watcher.onScanout(undefined);
    }
  }

  #watchersOf(head: number): HeadWatcher[] {
    return [...(this.#watchers.get(head) ?? [])];
  }
}
