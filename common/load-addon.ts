import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { errorText } from "./error-text.ts";
import { packageRoot } from "./package-root.ts";

/** The native addon is missing or cannot be loaded. */
export class NativeAddonError extends Error {
  override readonly name = "NativeAddonError";
}

/**
 * Folder of what `npm run build` compiles for the host. For tests, the variable VSOCKENC_ADDONS names that of another build,
 * e.g. the one with a stand-in for VideoToolbox (`npm run build:shim`: build/addon-shim/Release).
 */
export function nativeFolder(): string {
  return resolve(process.env["VSOCKENC_ADDONS"] ?? join(packageRoot, "build", "addon", "Release"));
}

/** Path of a native addon. */
export function addonFile(addon: "os" | "media" | "gst"): string {
  return join(nativeFolder(), `${addon}.node`);
}

/**
 * Loads one of the native addons; the caller gives the result its type.
 *
 * @throws NativeAddonError with the possible causes and the command that fixes each
 */
export function loadAddon(addon: "os" | "media" | "gst"): unknown {
  try {
    return createRequire(import.meta.url)(addonFile(addon));
  } catch (error) {
    const reason = errorText(error);
    throw new NativeAddonError(
      [
        `cannot load the native addon ${addon}.node: ${reason}`,
        `- not built yet, or built for another machine: npm run ${addon === "gst" ? "build:bridge" : "build"}`,
        "- a shared library is missing (libavcodec, libyuv, GStreamer): npm run setup",
      ].join("\n"),
    );
  }
}
