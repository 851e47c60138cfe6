/** The encoder of a pipeline: its bit rate, its numbers, and whether its host is away. */
import type { SourceStages, SourceStatistics } from "../../viewer/server/source.ts";
import { METADATA, STATS_FIELDS } from "../element/spec.ts";
import type { ElementMessage, Pipeline, PropertyValue } from "./gst.ts";

/** By factory: 1 kbit/s in the unit of the property `bitrate`, from the element's documentation. */
const BITRATE_UNITS: Readonly<Record<string, number>> = {
  [METADATA.factory]: 1,
  x264enc: 1,
  x265enc: 1,
  vah264enc: 1,
  vah265enc: 1,
  nvh264enc: 1,
  nvh265enc: 1,
  openh264enc: 1000,
};

/** Numbers of vsockenc's `stats` when last read. */
export interface EncoderNumbers {
  readonly statistics: SourceStatistics;
  readonly stages: SourceStages;
  /** From sending a frame to the host to the last byte of its access unit; 0 if unknown. */
  readonly roundTripUs: number;
}

export const NO_NUMBERS: EncoderNumbers = {
  statistics: { encoder: "", tier: "", bitrateKbps: 0, dropped: {} },
  stages: { captureUs: 0, queueUs: 0, convertUs: 0, encodeUs: 0 },
  roundTripUs: 0,
};

/** vsockenc's counters of frames that were not encoded, by the reason in their names. */
const DROPPED_FIELDS = STATS_FIELDS.map(({ name }) => name).filter((name) => name.startsWith("dropped-"));

/** The encoder of a pipeline; without effect for an encoder that is not in BITRATE_UNITS. */
export class PipelineEncoder {
  readonly #pipeline: Pipeline;
  readonly #found: { readonly name: string; readonly factory: string; readonly unit: number } | undefined;

  constructor(pipeline: Pipeline) {
    this.#pipeline = pipeline;
    const all = pipeline.elements().map((each) => ({ ...each, unit: BITRATE_UNITS[each.factory] ?? 0 }));
    this.#found = all.find(({ unit }) => unit > 0);
  }

  /** @throws PipelineError if the encoder rejects it */
  setBitrate(kbps: number): void {
    if (this.#found === undefined) return;
    this.#pipeline.setProperty(this.#found.name, "bitrate", kbps * this.#found.unit);
  }

  numbers(): EncoderNumbers {
    if (this.#found === undefined) return NO_NUMBERS;
    const { name, factory, unit } = this.#found;
    const bitrateKbps = numberOf(this.#pipeline.getProperty(name, "bitrate")) / unit;
    if (factory !== METADATA.factory) {
      return { ...NO_NUMBERS, statistics: { ...NO_NUMBERS.statistics, encoder: factory, bitrateKbps } };
    }
    const stats = this.#pipeline.getProperty(name, "stats");
    const field = (key: string): PropertyValue | undefined =>
      typeof stats === "object" && stats !== null ? stats[key] : undefined;
    const dropped = DROPPED_FIELDS.map((key) => [key.slice("dropped-".length), numberOf(field(key))]);
    return {
      statistics: {
        encoder: textOf(field("encoder")),
        tier: textOf(field("tier")),
        bitrateKbps,
        dropped: Object.fromEntries(dropped),
      },
      stages: {
        captureUs: 0,
        queueUs: numberOf(field("queue-us-p50")),
        convertUs: numberOf(field("convert-us-p50")),
        encodeUs: numberOf(field("encode-us-p50")),
      },
      roundTripUs: numberOf(field("round-trip-us-p50")),
    };
  }
}

const numberOf = (value: PropertyValue | undefined): number => (typeof value === "number" ? value : 0);
const textOf = (value: PropertyValue | undefined): string => (typeof value === "string" ? value : "");

/** GstResourceError's quark: vsockenc's domain for its connection to the host, with code READ for its loss and return. */
const RESOURCE_DOMAIN = "gst-resource-error-quark";
/** GST_RESOURCE_ERROR_READ of gst/gsterror.h. */
const RESOURCE_READ = 9;

/** Whether a message of vsockenc reports that the host has gone, or that it is back. */
export function hostChange({ kind, factory, domain, code }: ElementMessage): "away" | "back" | undefined {
  if (factory !== METADATA.factory || domain !== RESOURCE_DOMAIN) return undefined;
  // Without a connection to the host it does not start at all.
  if (kind === "error") return "away";
  if (code !== RESOURCE_READ) return undefined;
  return kind === "warning" ? "away" : "back";
}
