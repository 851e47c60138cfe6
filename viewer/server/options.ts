/** The options of a viewer server, in the relay's configuration file and the bridge's command line. */
import { z } from "zod";
import { isLoopback } from "../../common/address.ts";

/** The server cannot start with these options; the message names the field and the remedy. */
export class ViewerOptionsError extends Error {
  override readonly name = "ViewerOptionsError";
}

const HOST_NAME = /^(?=.{1,253}$)[a-z\d]([a-z\d-]*[a-z\d])?(\.[a-z\d]([a-z\d-]*[a-z\d])?)*$/i;

export const viewerOptions = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .describe(
        "Address to listen on, `localhost`, or `0.0.0.0` or `::` for all. An address that other machines can reach requires `certificate` and `key`, or `remote`.",
      ),
    port: z.int().min(0).max(65_535).default(8844).describe("TCP port of the page; 0 takes a free one."),
    remote: z
      .boolean()
      .default(false)
      .describe(
        "Allows an address that other machines reach without TLS. Anyone who can read the network then sees token and picture, and browsers offer no WebCodecs over plain HTTP.",
      ),
    token: z
      .string()
      .regex(/^[\w-]{16,128}$/, "must be 16 to 128 letters, digits, dashes or underscores")
      .optional()
      .describe(
        "Token that the address must have as `?token=`. Without it a random one is created at each start.",
      ),
    certificate: z
      .string()
      .min(1)
      .optional()
      .describe("PEM file with the certificate and its chain: the page is served over HTTPS."),
    key: z.string().min(1).optional().describe("PEM file with the certificate's private key."),
    names: z
      .array(z.string().regex(HOST_NAME, "must be a host name without scheme and port"))
      .max(16)
      .default([])
      .describe(
        "Host names, besides those of the certificate, under which browsers reach the page, e.g. through a proxy. Others are rejected, to prevent DNS rebinding.",
      ),
    max_viewers: z.int().min(1).max(1024).default(32).describe("Maximum number of viewers at the same time."),
  })
  .superRefine(({ host, remote, certificate, key }, context) => {
    if ((certificate === undefined) !== (key === undefined)) {
      const missing = certificate === undefined ? "certificate" : "key";
      context.addIssue({ code: "custom", path: [missing], message: "certificate and key belong together" });
    }
    if (!isLoopback(host) && certificate === undefined && !remote) {
      context.addIssue({
        code: "custom",
        path: ["host"],
        message: `${host} is reachable from other machines: set certificate and key, or remote = true to allow it without TLS`,
      });
    }
  });

/** Checked options, with defaults filled in. */
export type ViewerOptions = z.output<typeof viewerOptions>;

/**
 * Checks options that do not come from a configuration file.
 *
 * @throws ViewerOptionsError
 */
export function parseViewerOptions(options: z.input<typeof viewerOptions>): ViewerOptions {
  const result = viewerOptions.safeParse(options);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => `viewer.${path.join(".")}: ${message}`);
  throw new ViewerOptionsError(issues.join("; "));
}
