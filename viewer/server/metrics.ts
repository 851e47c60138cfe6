/**
 * The Prometheus metrics of a viewer server, in the registry of its program. The label `vm` is the source's, or empty for
 * sources without a VM, so there are at most as many series as VMs.
 */
import { Counter, Gauge, type Registry } from "prom-client";
import type { CloseName } from "../../proto/viewer-closing.ts";

/** The counters of one source. */
export interface SourceMetrics {
  viewerJoined(): void;
  viewerLeft(): void;
  unitSent(bytes: number): void;
  unitsSkipped(count: number): void;
  keyFrameRequested(): void;
  inputIgnored(reason: "unavailable" | "rate"): void;
}

export type RefusalReason = "path" | "host" | "origin" | "token" | "full" | CloseName;

export class ViewerMetrics {
  readonly #viewers: Gauge<"vm">;
  readonly #units: Counter<"vm">;
  readonly #bytes: Counter<"vm">;
  readonly #skipped: Counter<"vm">;
  readonly #keyFrames: Counter<"vm">;
  readonly #ignored: Counter<"vm" | "reason">;
  readonly #refused: Counter<"reason">;

  constructor(registry: Registry) {
    const counter = <Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> =>
      new Counter({ name: `vsockenc_viewer_${name}_total`, help, labelNames, registers: [registry] });
    this.#viewers = new Gauge({
      name: "vsockenc_viewers",
      help: "Viewers that watch a source.",
      labelNames: ["vm"],
      registers: [registry],
    });
    this.#units = counter("units_sent", "Access units sent to viewers.", ["vm"]);
    this.#bytes = counter("bytes_sent", "Bytes of access units sent to viewers.", ["vm"]);
    this.#skipped = counter("units_skipped", "Access units that slow viewers skipped.", ["vm"]);
    this.#keyFrames = counter("key_frame_requests", "Key frames requested from sources for viewers.", ["vm"]);
    this.#ignored = counter("input_ignored", "Pointer and key events that were ignored.", ["vm", "reason"]);
    this.#refused = counter("refused", "Viewers that were rejected or closed for a protocol error.", [
      "reason",
    ]);
  }

  forVm(vm: string): SourceMetrics {
    const viewers = this.#viewers.labels({ vm });
    const units = this.#units.labels({ vm });
    const sent = this.#bytes.labels({ vm });
    const skipped = this.#skipped.labels({ vm });
    const keyFrames = this.#keyFrames.labels({ vm });
    return {
      viewerJoined: () => viewers.inc(),
      viewerLeft: () => viewers.dec(),
      unitSent: (bytes) => {
        units.inc();
        sent.inc(bytes);
      },
      unitsSkipped: (count) => skipped.inc(count),
      keyFrameRequested: () => keyFrames.inc(),
      inputIgnored: (reason) => this.#ignored.labels({ vm, reason }).inc(),
    };
  }

  refused(reason: RefusalReason): void {
    this.#refused.labels({ reason }).inc();
  }
}
