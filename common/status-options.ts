/** Where a program tells how it does: `status` of the relay's configuration and of the bridge's. */
import { z } from "zod";

/**
 * @param port where it listens unless told otherwise
 * @param program in words, e.g. "relay"
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
        .describe(`TCP port on 127.0.0.1 for them. If it is taken, the ${program} warns and works without.`),
    })
    .prefault({});
