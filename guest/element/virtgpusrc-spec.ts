/** The interface of the element `virtgpusrc`; see spec.ts. generate.ts makes its C and docs/virtgpusrc.md. */
import type { EnumSpec, PropertySpec } from "./spec.ts";

export const METADATA = {
  factory: "virtgpusrc",
  longName: "virtio-gpu screen source",
  klass: "Source/Video",
  description: "Captures the screen of a virtio-gpu: its framebuffers themselves, as DmaBufs",
  author: "The vsockenc authors",
} as const;

/** Enums by their name in C, without the prefix GstVirtgpuSrc. */
export const ENUMS = {
  Pacing: {
    blurb: "When to push a frame",
    values: [
      { nick: "flip", blurb: "when the screen has changed, at most at the frame rate of the caps" },
      { nick: "rate", blurb: "at the frame rate of the caps, changed or not" },
    ],
  },
} as const satisfies Record<string, EnumSpec>;

export const PROPERTIES: readonly PropertySpec[] = [
  {
    name: "device",
    type: "string",
    unset: "the first card with the driver virtio_gpu",
    blurb: "Card node, e.g. /dev/dri/card0 (unset = the first card with the driver virtio_gpu)",
    mutable: "ready",
  },
  {
    name: "connector",
    type: "string",
    unset: "the first active output",
    blurb: "Output, e.g. Virtual-1 (unset = the first active output)",
    details: "`/sys/class/drm` lists them.",
    mutable: "ready",
  },
  {
    name: "pacing",
    type: "enum",
    of: "Pacing",
    default: "flip",
    blurb: "When to push a frame",
    details:
      "Drawing into the visible framebuffer without a page flip, as an X server does, also counts as a change; for one second after it, `flip` behaves like `rate`.",
    mutable: "playing",
  },
  {
    name: "keepalive-time",
    type: "uint",
    minimum: 0,
    maximum: 3_600_000,
    default: 1_000,
    unit: "ms",
    blurb: "Maximum time between frames, in milliseconds (0 = no limit)",
    details: "After this time the last frame is pushed again, even while the screen is off.",
    mutable: "playing",
  },
  {
    name: "cursor",
    type: "boolean",
    default: false,
    blurb: "Draw the hardware cursor into the frames, which requires a copy of each",
    details: "Frames are not copied while the cursor plane shows no cursor.",
    mutable: "ready",
  },
];
