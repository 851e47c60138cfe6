import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { temporaryFolder } from "../support/folder.ts";
import { type DemoFigures, shortcomings } from "./figures.ts";

describe("the demo", () => {
  const folder = temporaryFolder();

  it.each([
    ["the CPU draws", [], "resource"],
    ["OpenGL draws", ["--gl"], "resource-read"],
  ])("encodes in a real guest, prints figures and writes its files: %s", (_what, options, tier) => {
    const json = join(folder, "figures.json");
    const args = ["tsx", "test/demo/main.ts", "--frames", "60", "--out", folder, "--json", json, ...options];
    const { status, stdout, stderr } = spawnSync("npx", args, { cwd: packageRoot, encoding: "utf8" });
    expect(status, stderr).toBe(0);
    const figures = JSON.parse(readFileSync(json, "utf8")) as DemoFigures;
    expect(figures).toMatchObject({ framesIn: 60, framesOut: 60, tier, pixelBytesOverPort: 0 });
    expect(figures.bytesPerFrame.guestToHost).toBeLessThanOrEqual(128);
    for (const text of ["frames in / out", "source tier", "pixel bytes", "PSNR"])
      expect(stdout).toContain(text);
    for (const file of ["demo.mp4", "demo.png"]) expect(existsSync(join(folder, file))).toBe(true);
  });

  it("fails if a frame is missing, the tier is wrong or the picture is wrong", () => {
    const psnr = { average: 40, minimum: 35 };
    const good = { framesIn: 2, framesOut: 2, tier: "resource", pixelBytesOverPort: 0, psnr };
    const judge = (change: object): number =>
      shortcomings({ ...good, ...change } as DemoFigures, "resource").length;
    expect(judge({})).toBe(0);
    expect(judge({ framesOut: 1 })).toBe(1);
    expect(judge({ tier: "inline" })).toBe(1);
    expect(judge({ psnr: { average: 40, minimum: 29 } })).toBe(1);
    expect(judge({ pixelBytesOverPort: 1 })).toBe(1);
  });
});
