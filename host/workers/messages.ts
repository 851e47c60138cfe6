/** The messages between the relay and a worker; channel.ts carries them. */
import { z } from "zod";
import { type CodecName, PROFILES } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import { LISTEN_PROTOCOLS, workerConfiguration } from "../config.ts";
import type { EncoderOffer } from "../encoders/encoder.ts";
import { metricReport } from "../relay/metrics.ts";

const id = z.int().min(0);
const index = z.int().min(0);
const link = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("port"), index }),
  z.strictObject({
    kind: z.literal("listen"),
    index,
    address: z.string(),
    protocol: z.enum(LISTEN_PROTOCOLS),
  }),
]);
/** A source's id in the viewer's list. */
const source = z.string().max(256);
const text = z.string().max(LIMITS.MAX_TEXT_BYTES);

export const toWorker = z.discriminatedUnion("type", [
  /** The first message. */
  z.strictObject({
    type: z.literal("start"),
    configuration: workerConfiguration,
    /** The encoders that work: a worker probes none. */
    offers: z.array(z.custom<EncoderOffer>()),
    viewer: z.boolean(),
    idleMs: z.number(),
  }),
  /** A peer; with the descriptor of its connection. */
  z.strictObject({ type: z.literal("peer"), descriptor: z.literal(true), id, link, name: z.string() }),
  z.strictObject({ type: z.literal("close-peer"), id }),
  /** Answers "want-exporter"; with the descriptor of a connection, or the reason why there is none. */
  z.strictObject({ type: z.literal("exporter"), descriptor: z.boolean(), reason: z.string().optional() }),
  z.strictObject({ type: z.literal("watch"), source, on: z.boolean() }),
  z.strictObject({ type: z.literal("key-frame"), source }),
  z.strictObject({ type: z.literal("bitrate"), source, kbps: z.int() }),
  z.strictObject({ type: z.literal("metrics") }),
]);
export type ToWorker = z.infer<typeof toWorker>;

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
