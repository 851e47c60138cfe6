/** What gst-inspect-1.0 says of the element, for comparison with test/vectors/gst-inspect-VERSION.txt. */
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";

/** Without where the plugin lies. */
export const withoutPaths = (description: string): string =>
  description.replace(/^( +Filename +).*$/m, "$1PLUGIN");

/** The file for a version of GStreamer, given what `gst-inspect-1.0 --version` prints. */
export function goldenFile(version: string): string {
  const series = /^gst-inspect-1\.0 version (\d+\.\d+)/m.exec(version)?.[1];
  if (series === undefined) throw new Error(`gst-inspect-1.0 --version says: ${version}`);
  return join(packageRoot, "test", "vectors", `gst-inspect-${series}.txt`);
}
