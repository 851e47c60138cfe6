/**
 * The messages between the relay and a worker; channel.ts carries them. Only the relay loads this file: a worker needs its
 * types alone, and zod would be half of its memory.
 */
import { z } from "zod";
import { type CodecName, PROFILES } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { WorkerConfiguration } from "../config.ts";
import type { EncoderOffer } from "../encoders/encoder.ts";
import type { PeerLink } from "../relay/vm-host.ts";

const id = z.int().min(0);
/** A source's id in the viewer's list. */
const source = z.string().max(256);
const text = z.string().max(LIMITS.MAX_TEXT_BYTES);

/** A metric, as a worker sends it. */
const metricReport = z.object({
  name: z.string().regex(/^vsockenc_\w{1,64}$/),
  help: z.string().max(256),
  type: z.enum(["counter", "gauge", "histogram"]),
  aggregator: z.literal("sum"),
  values: z
    .array(
      z.object({
        value: z.number(),
        labels: z.record(z.string(), z.union([z.string(), z.number()])),
        metricName: z.string().optional(),
      }),
    )
    .max(1024),
});

/** Not checked: a worker trusts the relay, which has started it. */
export type ToWorker =
  | {
      /** The first message. */
      readonly type: "start";
      readonly configuration: WorkerConfiguration;
      /** The encoders that work: a worker probes none. */
      readonly offers: readonly EncoderOffer[];
      readonly viewer: boolean;
      readonly idleMs: number;
    }
  /** A peer; with the descriptor of its connection. */
  | {
      readonly type: "peer";
      readonly descriptor: true;
      readonly id: number;
      readonly link: PeerLink;
      readonly name: string;
    }
  | { readonly type: "close-peer"; readonly id: number }
  /** Answers "want-exporter"; with the descriptor of a connection, or the reason why there is none. */
  | { readonly type: "exporter"; readonly descriptor: boolean; readonly reason?: string }
  | { readonly type: "watch"; readonly source: string; readonly on: boolean }
  | { readonly type: "key-frame"; readonly source: string }
  | { readonly type: "bitrate"; readonly source: string; readonly kbps: number }
  | { readonly type: "metrics" };

const micros = z.number().min(0);
const state = z.discriminatedUnion("code", [
  z.strictObject({ code: z.enum(["running", "idle"]) }),
  z.strictObject({ code: z.enum(["away", "failed"]), text }),
]);

export const fromWorker = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("want-exporter") }),
  z.strictObject({ type: z.literal("exporter-up"), up: z.boolean() }),
  z.strictObject({ type: z.literal("peer-gone"), id }),
  /** No session is open, of the peers that were sent before the one numbered `before`, and no head can be watched. */
  z.strictObject({ type: z.literal("idle"), before: id }),
  z.strictObject({
    type: z.literal("offer"),
    source,
    kind: z.enum(["stream", "head"]),
    title: text,
    bitrate: z.strictObject({ minKbps: z.int(), maxKbps: z.int() }).optional(),
  }),
  z.strictObject({ type: z.literal("withdraw"), source }),
  z.strictObject({ type: z.literal("state"), source, state }),
  /** With the access unit. */
  z.strictObject({
    type: z.literal("unit"),
    source,
    codec: z.enum(Object.keys(PROFILES) as CodecName[]),
    ptsUs: z.number(),
    key: z.boolean(),
    stages: z.strictObject({ captureUs: micros, queueUs: micros, convertUs: micros, encodeUs: micros }),
    statistics: z.strictObject({
      encoder: text,
      tier: text,
      bitrateKbps: z.number(),
      dropped: z.record(text, z.number()),
    }),
  }),
  /** With the image's pixels, if there is one. */
  z.strictObject({
    type: z.literal("cursor"),
    source,
    x: z.number(),
    y: z.number(),
    image: z
      .strictObject({
        width: z.int().min(0).max(LIMITS.CURSOR_SIDE),
        height: z.int().min(0).max(LIMITS.CURSOR_SIDE),
      })
      .optional(),
  }),
  z.strictObject({ type: z.literal("metrics"), metrics: z.array(metricReport).max(64) }),
]);
export type FromWorker = z.infer<typeof fromWorker>;
