/** The GPU's resources, as its export socket serves them. */

import { packageVersion } from "../../common/package-root.ts";
import type { Cursor, ExportSource, LookUp, Scanout, SharedMemory } from "../export/source.ts";
import type { GpuDevice } from "./device.ts";
import type { SharedMemories } from "./shared-memories.ts";
import type { Vring } from "./vring.ts";

export class GpuExportSource implements ExportSource {
  readonly software = `vsockenc gpu ${packageVersion}`;
  readonly #device: GpuDevice;
  readonly #memories: SharedMemories;
  readonly #heads: number;
  readonly #control: Vring;

  /** @param heads connected ones; a relay is told of them even while they show nothing */
  constructor(device: GpuDevice, memories: SharedMemories, heads: number, control: Vring) {
    this.#device = device;
    this.#memories = memories;
    this.#heads = heads;
    this.#control = control;
  }

  lookUp(id: number): LookUp {
    const resource = this.#device.resource(id);
    if (resource === undefined) {
      return this.#control.wasStarted
        ? refused("RESOURCE_UNKNOWN", `the guest has no resource ${id} on this GPU`)
        : refused("DEVICE_NOT_READY", "no driver in the guest has started the GPU");
    }
    const { backing } = resource;
    if (backing === undefined) {
      return refused("RESOURCE_WITHOUT_BACKING", `resource ${id} has no pages at the moment`);
    }
    return { kind: "found", resource: { ...resource, backing } };
  }

  memory(id: number): SharedMemory | undefined {
    return this.#memories.get(id);
  }

  scanouts(): readonly (Scanout & { readonly head: number })[] {
    return this.#device.scanouts
      .map((scanout, head) => ({ ...scanout, head }))
      .filter(({ head, resource }) => head < this.#heads || resource !== 0);
  }

  cursors(): readonly (Cursor & { readonly head: number })[] {
    return this.#device.cursors
      .map((cursor, head) => ({ ...cursor, head }))
      .filter(({ image }) => image !== undefined);
  }

  /** What the guest has queued is carried out first. */
  whenSettled(listener: () => void): void {
    this.#control.whenSettled(listener);
  }
}

function refused(
  code: "RESOURCE_UNKNOWN" | "DEVICE_NOT_READY" | "RESOURCE_WITHOUT_BACKING",
  text: string,
): LookUp {
  return { kind: "refused", refusal: { code, text } };
}
