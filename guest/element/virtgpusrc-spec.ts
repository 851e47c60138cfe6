/**
 * What the element `virtgpusrc` promises to applications, as spec.ts does for `vsockenc`: the single truth of its
 * properties, from which generate.ts makes C and docs/virtgpusrc.md.
 */
import type { AnyPropertySpec, EnumSpec } from "./spec.ts";

export const METADATA = {
  factory: "virtgpusrc",
  longName: "virtio-gpu screen source",
  klass: "Source/Video",
  description: "Captures what a virtio-gpu shows, whoever draws it: the framebuffer itself, as DmaBuf",
  author: "The vsockenc authors",
} as const;

/** Enums by their name in C, without the prefix GstVirtgpuSrc. */
export const ENUMS = {
  Pacing: {
    blurb: "When a frame is pushed",
    values: [
      { nick: "flip", blurb: "when the screen has changed, at most at the frame rate of the caps" },
      { nick: "rate", blurb: "at the frame rate of the caps, changed or not" },
    ],
  },
} as const satisfies Record<string, EnumSpec>;

export const PROPERTIES: readonly AnyPropertySpec[] = [
  {
    name: "device",
    type: "string",
    unset: "the first card of the driver virtio_gpu",
    blurb: "Card node, such as /dev/dri/card0 (unset = the first of the driver virtio_gpu)",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "connector",
    type: "string",
    unset: "the first output that shows something",
    blurb: "Output, such as Virtual-1 (unset = the first that shows something)",
    details: "`/sys/class/drm` lists them.",
    mutable: "ready",
    since: "0.1",
  },
  {
    name: "pacing",
    type: "enum",
    of: "Pacing",
    default: "flip",
    blurb: "When a frame is pushed",
    details:
      "Drawing into the shown framebuffer without a flip, as an X server does, counts as a change; for a second after it `flip` is the same as `rate`.",
    mutable: "playing",
    since: "0.1",
  },
  {
    name: "keepalive-time",
    type: "uint",
    minimum: 0,
    maximum: 3_600_000,
    default: 1_000,
    unit: "ms",
    blurb: "Longest time without a frame, in milliseconds (0 = no limit)",
    details: "The last frame is pushed again, also while the screen is off.",
    mutable: "playing",
    since: "0.1",
  },
  {
    name: "cursor",
    type: "boolean",
    default: false,
    blurb: "Draw the hardware cursor into the frames, which copies each of them",
    details: "Frames without a visible cursor on its plane are not copied.",
    mutable: "ready",
    since: "0.1",
  },
];
