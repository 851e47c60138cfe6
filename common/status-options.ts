/** The table `status` in the configurations of relay and bridge. */
import { z } from "zod";

/**
 * @param port the default
 * @param program its name in the description, e.g. "relay"
 */
export const statusOptions = (port: number, program: string) =>
  z
    .strictObject({
      enabled: z.boolean().default(true).describe("Whether /metrics and /health are served."),
      port: z
        .int()
        .min(1)
        .max(65_535)
        .default(port)
        .describe(
          `TCP port on 127.0.0.1. If another program uses it, the ${program} warns and runs without the status page.`,
        ),
    })
    .prefault({});
