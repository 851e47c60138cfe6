/**
 * What a command line of QEMU says about the things that vsockenc adds to it: memory that can be shared, a GPU, a display.
 *
 * QEMU takes options with one or two dashes, and most values as `key=value,…` with a first key that may be left out (QEMU's
 * manual, "Options"). A line is read as far as needed; what is wrong otherwise is QEMU's to report.
 */
import { ConfigurationError } from "../common/configuration-error.ts";

/** The line has something that excludes what vsockenc adds; the message names the argument and the remedy. */
export class QemuLineError extends ConfigurationError {}

/** "2d": `vsockenc gpu`; "gl": QEMU's virtio-gpu-gl; "none": ports alone. */
export const RUN_GPUS = ["2d", "gl", "none"] as const;
export type RunGpu = (typeof RUN_GPUS)[number];

export interface QemuLine {
  /** Of `-m`; QEMU's default without it. */
  readonly memoryMiB: number;
  /** Whether the machine's memory is shared already. */
  readonly sharesMemory: boolean;
  /** Whether it has a display that gives a GPU its GL context. */
  readonly hasGlDisplay: boolean;
}

/** QEMU's default (hw/core/machine.c). */
const DEFAULT_MIB = 128;
/** In MiB; a number alone is in MiB (QEMU's manual, "-m"). */
const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** -10, M: 1, G: 2 ** 10, T: 2 ** 20 };
const GPUS =
  /^(virtio-(gpu|vga)|vhost-user-(gpu|vga)|VGA|qxl|bochs-display|secondary-vga|cirrus-vga|ati-vga|vmware-svga|ramfb)/;

/** Those of qemuArguments (hypervisor.ts). */
const OUR_IDS = /\bid=vsockenc-(mem|gpu|serial|port\d)\b/;

interface Option {
  readonly name: string;
  readonly value: string;
  /** As it was written. */
  readonly text: string;
}

/**
 * Reads a line.
 *
 * @param args those after QEMU's name
 * @throws QemuLineError
 */
export function readQemuLine(args: readonly string[], gpu: RunGpu): QemuLine {
  const options = optionsOf(args);
  const values = (...names: readonly string[]): string[] =>
    options.filter(({ name }) => names.includes(name)).map(({ value }) => value);
  for (const option of options) {
    const remedy = remedyFor(option, gpu);
    if (remedy !== undefined) throw new QemuLineError(`${option.text}: ${remedy}`);
  }
  const machines = values("machine", "M");
  const backend = machines.map((value) => field(value, "memory-backend")).findLast((id) => id !== undefined);
  const displays = values("display");
  return {
    memoryMiB: values("m").map(memoryMiB).at(-1) ?? DEFAULT_MIB,
    sharesMemory: gpu !== "none" && backend !== undefined && isShared(backend, values("object")),
    hasGlDisplay: displays.some(
      (value) => first(value) === "egl-headless" || /,gl=(on|core|es)\b/.test(value),
    ),
  };
}

function optionsOf(args: readonly string[]): Option[] {
  const options: Option[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    const name = /^--?(\w[\w-]*)$/.exec(word)?.[1];
    // A disk's image, or the value of an option that was not recognised.
    if (name === undefined) continue;
    const next = args[at + 1];
    const hasValue = next !== undefined && !/^--?[a-zA-Z]/.test(next);
    options.push({ name, value: hasValue ? next : "", text: hasValue ? `${word} ${next}` : word });
    if (hasValue) at += 1;
  }
  return options;
}

/** What has to change about an option; undefined if it can stay. */
function remedyFor({ name, value }: Option, gpu: RunGpu): string | undefined {
  if (name === "daemonize")
    return "`vsockenc run` stays as long as QEMU does; remove it, and run both in the background";
  if (OUR_IDS.test(value)) return "this id is one that vsockenc uses; choose another";
  if (name === "machine" || name === "M") {
    return first(value) === "microvm"
      ? "this machine has no PCI, which vsockenc's devices need; use q35"
      : undefined;
  }
  if (gpu === "none") return undefined;
  const orNone = "remove it, or use --gpu none";
  if (name === "vga") return value === "none" ? undefined : `the VM gets another GPU; ${orNone}`;
  if (name === "device") return GPUS.test(driver(value)) ? `the VM gets another GPU; ${orNone}` : undefined;
  if (name === "mem-path") return `this memory may not be shared with the GPU; ${orNone}`;
  if (name === "numa" && field(value, "memdev") !== undefined) {
    return `memory of several NUMA nodes cannot be shared with the GPU; ${orNone}`;
  }
  if (gpu === "gl") {
    const isGl = first(value) === "egl-headless" || /,gl=(on|core|es)\b/.test(value);
    return name === "display" && !isGl
      ? `the GPU needs a display with GL; remove it, or add gl=on`
      : undefined;
  }
  // Displays other than none crash QEMU together with a vhost-user-gpu, or show nothing.
  if (name === "display") return value === "none" ? undefined : `the screen is in the browser; ${orNone}`;
  if (name === "vnc" || name === "spice") return `the screen is in the browser; ${orNone}`;
  return undefined;
}

/** @throws QemuLineError */
function isShared(backend: string, objects: readonly string[]): boolean {
  const object = objects.find((value) => field(value, "id") === backend);
  const kind = first(object ?? "");
  if (kind === "memory-backend-memfd" && field(object ?? "", "share") !== "off") return true;
  if (kind === "memory-backend-shm") return true;
  throw new QemuLineError(
    `-machine memory-backend=${backend}: the GPU needs memory that is a shared memfd; remove it, or use -object memory-backend-memfd,id=${backend},share=on,size=…`,
  );
}

/** @throws QemuLineError */
function memoryMiB(value: string): number {
  const size = field(value, "size") ?? first(value);
  const [, digits = "", unit = ""] = /^(\d+(?:\.\d+)?)([KMGT]?)B?$/i.exec(size) ?? [];
  const mebibytes = Math.floor(Number(digits) * (UNITS[unit.toUpperCase()] ?? Number.NaN));
  if (digits !== "" && mebibytes > 0) return mebibytes;
  throw new QemuLineError(`-m ${value}: cannot be read; write it as -m 4096M or -m 4G`);
}

/** Of `-device`, whose value may be JSON. */
function driver(value: string): string {
  return /^\{.*?"driver"\s*:\s*"([^"]*)"/.exec(value)?.[1] ?? first(value);
}

/** The part of a value before its fields. */
function first(value: string): string {
  const [head = ""] = value.split(",");
  return head.includes("=") ? head.slice(head.indexOf("=") + 1) : head;
}

function field(value: string, key: string): string | undefined {
  return new RegExp(`(?:^|,)${key}=([^,]*)`).exec(value)?.[1];
}
