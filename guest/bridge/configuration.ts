/** The configuration of `vsockenc bridge`: TOML, checked by one schema, from which docs/bridge.md has its table. */
import { z } from "zod";
import { LOG_LEVELS } from "../../common/log.ts";
import { statusOptions } from "../../common/status-options.ts";
import {
  ConfigurationError,
  type ConfigurationField,
  describeFields,
  readToml,
} from "../../common/toml-file.ts";
import { LIMITS } from "../../proto/limits.ts";
import { viewerOptions } from "../../viewer/server/options.ts";
import type { ElementProperties } from "../element/gen/element.ts";
import { ElementOptionError, vsockencElement } from "../element/pipeline.ts";

const MAX_PIPELINE_CHARACTERS = 16_384;

const elements = z.string().min(1).max(MAX_PIPELINE_CHARACTERS);

const kbps = z.int().min(1).max(LIMITS.MAX_BITRATE_KBPS);

const schema = z
  .strictObject({
    log: z
      .strictObject({
        level: z.enum(LOG_LEVELS).default("info").describe("Least severe messages that are logged."),
      })
      .prefault({}),
    title: z
      .string()
      .min(1)
      .max(60)
      .optional()
      .describe("What the page calls the picture. Without it, the name of this machine."),
    source: elements
      .optional()
      .describe(
        "Elements that capture, as in gst-launch-1.0, e.g. `pipewiresrc path=42 do-timestamp=true ! videoconvert`. Without it: virtgpusrc where it may be used, else pipewiresrc.",
      ),
    framerate: z
      .int()
      .min(1)
      .max(240)
      .default(60)
      .describe("Most frames a second that virtgpusrc captures when it is chosen without `source`."),
    codec: z.enum(["h264", "h265"]).default("h264").describe("What vsockenc is asked for."),
    encoder: z
      .record(z.string(), z.union([z.string(), z.number()]))
      .default({})
      .describe("Properties of vsockenc (docs/element.md), e.g. `keyframe-interval = 120`."),
    pipeline: elements
      .optional()
      .describe(
        "The whole pipeline in place of `source`, `codec` and `encoder`. It ends in `appsink name=videosink`, which gets H.264 or H.265 as byte-stream, one access unit a buffer. Of the appsink's properties the bridge sets drop and max-buffers: an access unit that is left out damages all that follow.",
      ),
    bitrate: z
      .strictObject({
        adapt: z
          .boolean()
          .default(true)
          .describe(
            "Whether the bit rate follows what the viewers' lines carry. Else it is what the pipeline says.",
          ),
        min_kbps: kbps.default(500).describe("Least bit rate in kbit/s."),
        max_kbps: kbps.default(10_000).describe("Highest bit rate in kbit/s, with which it begins."),
      })
      .prefault({}),
    input: z
      .strictObject({
        enabled: z
          .boolean()
          .default(false)
          .describe(
            "Whether the viewers' pointer and keyboard reach this machine. Who has the token then can do here whatever the one at the keyboard can.",
          ),
        device: z
          .string()
          .min(1)
          .default("/dev/uinput")
          .describe("The kernel's device for making input devices."),
      })
      .prefault({}),
    viewer: viewerOptions.prefault({}),
    status: statusOptions(9479, "bridge"),
  })
  .superRefine(({ source, pipeline, bitrate, encoder }, context) => {
    const issue = (path: string[], message: string): void => {
      context.addIssue({ code: "custom", path, message });
    };
    if (source !== undefined && pipeline !== undefined)
      issue(["source"], "is part of `pipeline`: give one of the two");
    if (bitrate.min_kbps > bitrate.max_kbps) issue(["bitrate", "min_kbps"], "is above bitrate.max_kbps");
    if (pipeline !== undefined && Object.keys(encoder).length > 0)
      issue(["encoder"], "belongs to the pipeline that the bridge makes: write the properties in `pipeline`");
    try {
      // It checks names and values itself.
      vsockencElement(encoder as ElementProperties);
    } catch (error) {
      if (!(error instanceof ElementOptionError)) throw error;
      issue(["encoder"], error.message);
    }
  });

export type BridgeConfiguration = z.output<typeof schema>;

export function bridgeConfigurationFields(): ConfigurationField[] {
  return describeFields(schema);
}

/** What a command line says in place of a file's fields. */
export interface BridgeOverrides {
  readonly source?: string | undefined;
  readonly pipeline?: string | undefined;
}

/**
 * Reads a configuration file; without one everything has its default.
 *
 * @throws ConfigurationError with one line for each wrong field
 */
export function bridgeConfiguration(
  file: string | undefined,
  { source, pipeline }: BridgeOverrides = {},
): BridgeConfiguration {
  if (source !== undefined && pipeline !== undefined)
    throw new ConfigurationError("--source is part of --pipeline: give one of the two");
  const configuration = file === undefined ? schema.parse({}) : readToml(schema, file);
  if (source !== undefined) return { ...configuration, source, pipeline: undefined };
  if (pipeline !== undefined) return { ...configuration, source: undefined, pipeline };
  return configuration;
}
