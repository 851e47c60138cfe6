/**
 * The element's description as GStreamer shows it: a change that applications see changes this file too.
 *
 * After an intended one: npx vitest run --project pipelines test/element/inspect.test.ts -u
 */
import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { goldenFile, withoutPaths } from "./support/inspect.ts";
import { buildElement, run } from "./support/programs.ts";

buildElement();
const { stdout: version } = await run("gst-inspect-1.0", ["--version"]);
const golden = goldenFile(version);

// Distributions have other versions, whose gst-inspect prints other words.
it.runIf(existsSync(golden))("is described as in the file for this GStreamer", async () => {
  const { status, stdout, stderr } = await run("gst-inspect-1.0", ["--no-colors", "vsockenc"]);
  expect(status, stderr).toBe(0);
  await expect(withoutPaths(stdout)).toMatchFileSnapshot(golden);
});
