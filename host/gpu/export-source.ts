/** The GPU's resources, as its export socket serves them. */
import { packageVersion } from "../../common/package-root.ts";
import type { ExportSource, LookUp } from "../export/source.ts";
import type { GpuDevice } from "./device.ts";
import type { SharedMemories } from "./shared-memories.ts";
import type { Vring } from "./vring.ts";

/**
 * @param heads connected ones; a relay learns of them even while they show nothing
 * @param control the control queue: what the guest has queued there is carried out before a look-up
 */
export function exportSource(
  device: GpuDevice,
  memories: SharedMemories,
  heads: number,
  control: Vring,
): ExportSource {
  return {
    software: `vsockenc gpu ${packageVersion}`,
    lookUp: (id) => lookUp(device, id, control.wasStarted),
    memory: (id) => memories.get(id),
    scanouts: () =>
      device.scanouts
        .map((scanout, head) => ({ ...scanout, head }))
        .filter(({ head, resource }) => head < heads || resource !== 0),
    cursors: () =>
      device.cursors.map((cursor, head) => ({ ...cursor, head })).filter(({ image }) => image !== undefined),
    whenSettled: (listener) => control.whenSettled(listener),
  };
}

function lookUp(device: GpuDevice, id: number, wasStarted: boolean): LookUp {
  const refused = (
    code: "RESOURCE_UNKNOWN" | "DEVICE_NOT_READY" | "RESOURCE_WITHOUT_BACKING",
    text: string,
  ) => ({ kind: "refused", refusal: { code, text } }) as const;
  const resource = device.resource(id);
  if (resource === undefined) {
    return wasStarted
      ? refused("RESOURCE_UNKNOWN", `the guest has no resource ${id} on this GPU`)
      : refused("DEVICE_NOT_READY", "no driver in the guest has started the GPU");
  }
  const { backing } = resource;
  if (backing === undefined) {
    return refused("RESOURCE_WITHOUT_BACKING", `resource ${id} has no pages at the moment`);
  }
  return { kind: "found", resource: { ...resource, backing } };
}
