/**
 * Where resources' bytes are, as the exporter has described it, remembered beyond their release: a guest that attaches and
 * detaches a resource of many extents again and again has it described once. A generation is one backing, so what is
 * remembered of it stays true; whether it is still the resource's, the exporter says at each Acquire.
 */
import { LIMITS } from "../../proto/limits.ts";
import type { ExportedResource } from "./client.ts";

/** Extents that are remembered, some 100 bytes each. */
export const MAX_REMEMBERED_EXTENTS = 4 * LIMITS.MAX_EXTENTS;

/** 0 means all bytes. */
const least = (bytes: number): number => (bytes === 0 ? Number.POSITIVE_INFINITY : bytes);

export class Descriptions {
  /** By resource, the one described last at the end; `bytes` of it are covered. */
  readonly #entries = new Map<number, { readonly described: ExportedResource; readonly bytes: number }>();
  #extents = 0;

  /** What is known of the resource, if it covers these bytes. */
  find(resource: number, bytes: number): ExportedResource | undefined {
    const entry = this.#entries.get(resource);
    return entry !== undefined && entry.bytes >= least(bytes) ? entry.described : undefined;
  }

  /** @param bytes that were asked for */
  add(described: ExportedResource, bytes: number): void {
    this.forget(described.resource);
    this.#entries.set(described.resource, { described, bytes: least(bytes) });
    this.#extents += described.extents.length;
    for (const resource of this.#entries.keys()) {
      if (this.#extents <= MAX_REMEMBERED_EXTENTS) break;
      this.forget(resource);
    }
  }

  forget(resource: number): void {
    const entry = this.#entries.get(resource);
    if (entry === undefined) return;
    this.#entries.delete(resource);
    this.#extents -= entry.described.extents.length;
  }
}
