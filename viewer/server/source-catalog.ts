/** A server's sources by id, each with its hub. */
import type { Logger } from "pino";
import { LIMITS } from "../../proto/limits.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../proto/viewer-messages.ts";
import { Hub, type SourceOptions } from "./hub.ts";
import type { ViewerMetrics } from "./metrics.ts";
import { type ViewerSource, ViewerSourceError } from "./source.ts";

/** For use in URLs. */
const SOURCE_ID = /^[\w.\-/]+$/;

const { SourceKind } = vsockenc.viewer;
const KINDS = { stream: SourceKind.STREAM, head: SourceKind.HEAD, pipeline: SourceKind.PIPELINE } as const;

export class SourceCatalog {
  readonly #hubs = new Map<string, Hub>();
  readonly #metrics: ViewerMetrics;
  readonly #log: Logger;

  constructor(metrics: ViewerMetrics, log: Logger) {
    this.#metrics = metrics;
    this.#log = log;
  }

  /** @throws ViewerSourceError */
  add(source: ViewerSource, options: SourceOptions): void {
    const { id } = source;
    if (!SOURCE_ID.test(id) || id.length > VIEWER_LIMITS.SOURCE_ID_BYTES) {
      const rule = `1 to ${VIEWER_LIMITS.SOURCE_ID_BYTES} letters, digits, dots, dashes, underscores or slashes`;
      throw new ViewerSourceError(`invalid source id ${JSON.stringify(id)}: expected ${rule}`);
    }
    if (this.#hubs.has(id)) throw new ViewerSourceError(`duplicate source id ${id}`);
    if (this.#hubs.size >= VIEWER_LIMITS.SOURCES) {
      throw new ViewerSourceError(`rejected source ${id}: a server has at most ${VIEWER_LIMITS.SOURCES}`);
    }
    const { minKbps, maxKbps } = options.bitrate ?? { minKbps: 1, maxKbps: 1 };
    if (!(minKbps >= 1 && minKbps <= maxKbps && maxKbps <= LIMITS.MAX_BITRATE_KBPS)) {
      const rule = `1 <= least <= most <= ${LIMITS.MAX_BITRATE_KBPS} kbit/s`;
      const range = `${minKbps} to ${maxKbps}`;
      throw new ViewerSourceError(`invalid bit rates of source ${id}, ${range}: expected ${rule}`);
    }
    this.#hubs.set(id, new Hub(source, options, this.#metrics.forVm(source.vm), this.#log));
  }

  remove(id: string): void {
    const hub = this.#hubs.get(id);
    this.#hubs.delete(id);
    hub?.close();
  }

  get(id: string): Hub | undefined {
    return this.#hubs.get(id);
  }

  get hubs(): Hub[] {
    return [...this.#hubs.values()];
  }

  /** The list of all sources, for viewers. */
  message(): OutgoingServerMessage {
    const sources = this.hubs.map(({ source: { id, kind, vm, title, input } }) => ({
      id,
      kind: KINDS[kind],
      vm,
      title: truncateText(title),
      input: input !== undefined,
    }));
    return { type: "sources", body: { sources } };
  }
}

/** A title or sentence, cut to the limit of a message. */
export function truncateText(text: string, bytes = VIEWER_LIMITS.TEXT_BYTES): string {
  const buffer = Buffer.alloc(bytes);
  // Writes whole characters only.
  return buffer.toString("utf8", 0, new TextEncoder().encodeInto(text, buffer).written);
}
