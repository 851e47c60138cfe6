/** The output of gst-inspect-1.0, for comparison with test/vectors/gst-inspect-VERSION.txt. */
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";

/** Replaces the plugin's path. */
export const withoutPaths = (description: string): string =>
  description.replace(/^( +Filename +).*$/m, "$1PLUGIN");

/** The golden file for a version of GStreamer. @param version the output of `gst-inspect-1.0 --version` */
export function goldenFile(version: string): string {
  const series = /^gst-inspect-1\.0 version (\d+\.\d+)/m.exec(version)?.[1];
  if (series === undefined) throw new Error(`unexpected output of gst-inspect-1.0 --version: ${version}`);
  return join(packageRoot, "test", "vectors", `gst-inspect-${series}.txt`);
}
