/**
 * What a VM is doing, as far as its sockets show it.
 *
 * A GPU process removes the socket where it waits for QEMU when QEMU connects. So one that answers at the export socket, and
 * waits, has no VM: if the VM runs, it has lost its GPU, and QEMU cannot reconnect one.
 */
import { existsSync } from "node:fs";
import type { VmConfiguration } from "../config.ts";

export const VM_STATES = ["off", "starting", "running", "without-gpu"] as const;
export type VmState = (typeof VM_STATES)[number];

/** Looks, one in VM_LOOK_MS, in which a VM has no GPU before it has lost it: QEMU opens its sockets one after the other. */
const LOST_LOOKS = 3;
export const VM_LOOK_MS = 1000;

/** What a look at a VM shows. */
export interface VmLook {
  /** Whether QEMU's end of a port is connected; undefined for a VM without ports. */
  readonly connected: boolean | undefined;
  /** Whether the exporter answers; undefined without one. */
  readonly exporterUp: boolean | undefined;
}

/** Whether the VM's GPU process waits for QEMU, if it runs. */
export function isGpuWaiting({ gpu }: VmConfiguration): boolean {
  return gpu?.socket !== undefined && existsSync(gpu.socket);
}

export class VmWatch {
  readonly #vm: VmConfiguration;
  #lost = 0;
  #state: VmState = "off";

  constructor(vm: VmConfiguration) {
    this.#vm = vm;
  }

  /** As of the last look. */
  get state(): VmState {
    return this.#state;
  }

  /** To be called once in VM_LOOK_MS. */
  look({ connected, exporterUp }: VmLook): void {
    const hasGpu = exporterUp === true && !isGpuWaiting(this.#vm);
    if (exporterUp === undefined) this.#state = connected === true ? "running" : "off";
    else if (connected === undefined) this.#state = hasGpu ? "running" : "off";
    else if (!connected) this.#state = hasGpu ? "starting" : "off";
    else if (hasGpu) this.#state = "running";
    else this.#state = this.#lost >= LOST_LOOKS ? "without-gpu" : "starting";
    this.#lost = connected === true && !hasGpu ? this.#lost + 1 : 0;
  }

  /** What is wrong with the VM and what to do about it; undefined if nothing is. */
  get fault(): string | undefined {
    if (this.#state !== "without-gpu") return undefined;
    const { name, gpu } = this.#vm;
    return gpu?.kind === "qemu-gl"
      ? `${name} runs without vsockenc's library in its QEMU: restart it with the environment that \`vsockenc qemu-args --environment\` prints`
      : `${name} runs without its GPU, which has ended or was started after it: restart the VM`;
  }
}
