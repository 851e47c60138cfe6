/** The configuration of `vsockenc bridge`: TOML, checked by a schema from which the table in docs/bridge.md is generated. */
import { z } from "zod";
import { ConfigurationError } from "../../common/configuration-error.ts";
import { LOG_LEVELS } from "../../common/log.ts";
import { statusOptions } from "../../common/status-server.ts";
import { type ConfigurationField, describeFields, parseToml, readSource } from "../../common/toml-file.ts";
import { LIMITS } from "../../proto/limits.ts";
import { viewerOptions } from "../../viewer/server/options.ts";
import type { ElementProperties } from "../element/gen/element.ts";
import { ElementOptionError, vsockencElement } from "../element/pipeline.ts";

const elements = z.string().min(1).max(16_384);
const kbps = z.int().min(1).max(LIMITS.MAX_BITRATE_KBPS);

const schema = z
  .strictObject({
    log: z
      .strictObject({
        level: z.enum(LOG_LEVELS).default("info").describe("Minimum severity of logged messages."),
      })
      .prefault({}),
    title: z
      .string()
      .min(1)
      .max(60)
      .optional()
      .describe("Title of the picture in the page. Default: this machine's host name."),
    source: elements
      .optional()
      .describe(
        "Elements that capture, as in gst-launch-1.0, e.g. `pipewiresrc path=42 do-timestamp=true ! videoconvert`. Default: virtgpusrc if it has the privilege to capture, else pipewiresrc.",
      ),
    framerate: z
      .int()
      .min(1)
      .max(240)
      .default(60)
      .describe("Maximum frame rate of virtgpusrc, when it is chosen without `source`."),
    codec: z.enum(["h264", "h265"]).default("h264").describe("Codec of vsockenc."),
    encoder: z
      .record(z.string(), z.union([z.string(), z.number()]))
      .default({})
      .describe("Properties of vsockenc (docs/element.md), e.g. `keyframe-interval = 120`."),
    pipeline: elements
      .optional()
      .describe(
        "The whole pipeline in place of `source`, `codec` and `encoder`. It ends in `appsink name=videosink`, which receives H.264 or H.265 as byte-stream, one access unit a buffer. The bridge sets the appsink's properties drop and max-buffers, because a dropped access unit damages all that follow.",
      ),
    bitrate: z
      .strictObject({
        adapt: z
          .boolean()
          .default(true)
          .describe("Whether the bit rate adapts to the viewers' connections. If not, the pipeline sets it."),
        min_kbps: kbps.default(500).describe("Minimum bit rate in kbit/s."),
        max_kbps: kbps.default(10_000).describe("Maximum and initial bit rate in kbit/s."),
      })
      .prefault({}),
    input: z
      .strictObject({
        enabled: z
          .boolean()
          .default(false)
          .describe(
            "Whether viewers control pointer and keyboard of this machine. Anyone with the token can then do whatever a user at the keyboard can.",
          ),
        device: z.string().min(1).default("/dev/uinput").describe("The kernel's uinput device."),
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
      issue(["source"], "conflicts with `pipeline`: set one of the two");
    if (bitrate.min_kbps > bitrate.max_kbps) issue(["bitrate", "min_kbps"], "exceeds bitrate.max_kbps");
    if (pipeline !== undefined && Object.keys(encoder).length > 0)
      issue(["encoder"], "applies to the default pipeline only: set the properties in `pipeline`");
    try {
      // Checks names and values.
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

/**
 * Reads a configuration file; without one, all fields have their defaults.
 *
 * @param overrides command-line options that replace fields of the file
 * @throws ConfigurationError with one line for each invalid field
 */
export function bridgeConfiguration(
  file: string | undefined,
  overrides: { readonly source?: string | undefined; readonly pipeline?: string | undefined } = {},
): BridgeConfiguration {
  const { source, pipeline } = overrides;
  if (source !== undefined && pipeline !== undefined)
    throw new ConfigurationError("--source conflicts with --pipeline: use one of the two");
  const configuration = file === undefined ? schema.parse({}) : parseToml(schema, readSource(file));
  if (source !== undefined) return { ...configuration, source, pipeline: undefined };
  if (pipeline !== undefined) return { ...configuration, source: undefined, pipeline };
  return configuration;
}
