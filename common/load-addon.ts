import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { errorText } from "./error-text.ts";
import { packageRoot } from "./package-root.ts";

/** The native addon is absent or does not load on this machine. */
export class NativeAddonError extends Error {
  override readonly name = "NativeAddonError";
}

/**
 * Loads one of the native addons. Callers give the result a type of their own, next to the functions that
 * it describes. The variable VSOCKENC_ADDONS names the folder of another build; it is for tests, such as those of the
 * VideoToolbox back end with a shim of its API (`npm run build:shim`: build/addon-shim/Release).
 *
 * @throws NativeAddonError with the causes and the command that mends each.
 */
export function loadAddon(addon: "os" | "media" | "gst"): unknown {
  const folder = resolve(process.env["VSOCKENC_ADDONS"] ?? join(packageRoot, "build", "addon", "Release"));
  const file = join(folder, `${addon}.node`);
  try {
    return createRequire(import.meta.url)(file);
  } catch (error) {
    const reason = errorText(error);
    throw new NativeAddonError(
      [
        `The native addon ${addon}.node does not load: ${reason}`,
        `- not built yet, or built for another machine: npm run ${addon === "gst" ? "build:bridge" : "build"}`,
        "- a shared library is missing (libavcodec, libyuv, GStreamer): npm run setup",
      ].join("\n"),
    );
  }
}
