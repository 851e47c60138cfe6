/** What is fuzzed: docs/fuzzing.md has the table. */
import { spsSeeds, virglSeeds, virtqueueSeeds, wireSeeds } from "./seeds.ts";
import { channel } from "./typescript/channel.ts";
import { configuration } from "./typescript/configuration.ts";
import { exporting } from "./typescript/export.ts";
import { framing } from "./typescript/framing.ts";
import { hxfr } from "./typescript/hxfr.ts";
import { vhostUser } from "./typescript/vhost-user.ts";
import { viewer } from "./typescript/viewer.ts";
import { virtioGpu } from "./typescript/virtio-gpu.ts";
import type { TypescriptTarget } from "./typescript-fuzzer.ts";

interface Described {
  /** What is tested, and against whom. */
  readonly what: string;
}

export interface NativeTarget extends Described {
  readonly kind: "native";
  /** Of an input: what the longest interesting one needs, since long inputs are slow. */
  readonly maxBytes: number;
  seeds(): Buffer[];
}

export type Target =
  | NativeTarget
  | (Described & { readonly kind: "typescript"; readonly target: TypescriptTarget });

const native = (what: string, maxBytes: number, seeds: () => Buffer[]): Target => ({
  kind: "native",
  what,
  maxBytes,
  seeds,
});
const typescript = (what: string, target: TypescriptTarget): Target => ({ kind: "typescript", what, target });

/** By name; a native one is an executable of that name. */
export const TARGETS: ReadonlyMap<string, Target> = new Map([
  ["wire", native("the element's parser and decoders, against the host", 40_000, wireSeeds)],
  [
    "virtqueue",
    native("rings, descriptor chains and the guest's memory, against the guest", 4200, virtqueueSeeds),
  ],
  ["sps", native("parameter sets and access units, against an encoder's driver", 256, spsSeeds)],
  ["virgl", native("the exporter inside QEMU, against relays and the guest", 320, virglSeeds)],
  ["framing", typescript("the relay's parser and decoders, against the guest", framing)],
  ["export", typescript("both ends of the export protocol, against each other", exporting)],
  ["virtio-gpu", typescript("the GPU's commands and its resources, against the guest", virtioGpu)],
  ["vhost-user", typescript("messages and memory tables, against QEMU", vhostUser)],
  ["viewer", typescript("messages of viewers and of their server, against each other", viewer)],
  ["hxfr", typescript("HXFR's parser, against the guest", hxfr)],
  ["configuration", typescript("the host's configuration, with files that add to it", configuration)],
  ["channel", typescript("messages of the control socket and of workers", channel)],
]);
