/**
 * What viewers can watch of VMs: guests' streams, which are encoded anyway, and VMs' heads, which are encoded only while a
 * viewer watches. Each has an id: "desk/port0", "desk/head0", "desk/listen1.0", "listen0.2".
 */
import { type ViewerSource, ViewerSourceError } from "../../viewer/server/source.ts";
import type { SourceOptions } from "../../viewer/server/viewer-server.ts";
import type { VmConfiguration } from "../config.ts";
import type { VmResources } from "../export/vm-resources.ts";
import type { SourceOffers, StreamObserver, VmViewer, VmViewerParts } from "../relay/relay-viewer.ts";
import { GuestStreamSource } from "./guest-stream-source.ts";
import { HeadSource } from "./head-run.ts";

/** Names of a port's stream. */
export function portSource(vm: string, index: number): { readonly id: string; readonly title: string } {
  return { id: `${vm}/port${index}`, title: `Port ${index}` };
}

export class VmSources implements VmViewer {
  readonly #offers: SourceOffers;
  readonly #parts: VmViewerParts;
  /** Ids of streams from clients of [[listen]]. */
  readonly #clients = new Set<string>();

  constructor(offers: SourceOffers, parts: VmViewerParts) {
    this.#offers = offers;
    this.#parts = parts;
  }

  port(vm: string, index: number): StreamObserver {
    const { id, title } = portSource(vm, index);
    const source = new GuestStreamSource(id, vm, title);
    this.#offer(source);
    return source;
  }

  client(vm: string, listener: number, name: string): StreamObserver {
    const prefix = `${vm === "" ? "" : `${vm}/`}listen${listener}`;
    let slot = 0;
    while (this.#clients.has(`${prefix}.${slot}`)) slot += 1;
    const id = `${prefix}.${slot}`;
    this.#clients.add(id);
    const source = new GuestStreamSource(id, vm, `${name}, ${slot}`, () => {
      this.#clients.delete(id);
      this.#offers.remove(id);
    });
    this.#offer(source);
    return source;
  }

  heads({ name, view }: VmConfiguration, resources: VmResources): void {
    if (!view.heads) return;
    const bitrate = { minKbps: view.min_kbps, maxKbps: view.max_kbps };
    const { backend, log } = this.#parts;
    const metrics = this.#parts.metrics.headsOf(name);
    const options = { resources, backend, rate: view.rate, bitrateKbps: view.max_kbps, metrics };
    resources.heads.discover((head) => {
      const headLog = log.child({ vm: name, head });
      const source = new HeadSource(name, { ...options, heads: resources.heads, head, log: headLog });
      this.#offer(source, { bitrate });
    });
  }

  /** Too many sources must not harm the guests. */
  #offer(source: ViewerSource, options?: SourceOptions): void {
    try {
      this.#offers.add(source, options);
    } catch (error) {
      if (!(error instanceof ViewerSourceError)) throw error;
      this.#parts.log.warn({ reason: error.message }, "cannot offer a source to viewers");
    }
  }
}
