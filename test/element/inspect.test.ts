/**
 * The element's description as printed by gst-inspect-1.0: a change that applications see changes the golden file.
 *
 * After an intended change: npx vitest run --project pipelines test/element/inspect.test.ts -u
 */
import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { buildElement, goldenFile, run, withoutPaths } from "./support/programs.ts";

buildElement();
const { stdout: version } = await run("gst-inspect-1.0", ["--version"]);
const golden = goldenFile(version);

// Other versions of gst-inspect have another output format.
it.runIf(existsSync(golden))("matches the golden file for this version of GStreamer", async () => {
  const { status, stdout, stderr } = await run("gst-inspect-1.0", ["--no-colors", "vsockenc"]);
  expect(status, stderr).toBe(0);
  await expect(withoutPaths(stdout)).toMatchFileSnapshot(golden);
});
