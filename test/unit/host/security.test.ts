import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";

const text = readFileSync(join(packageRoot, "SECURITY.md"), "utf8");
const invariants = (text.split("## Invariants")[1]?.split("\n## ")[0] ?? "").split(/^\d+\. /m).slice(1);

describe("SECURITY.md", () => {
  it("numbers its invariants without a gap", () => {
    const numbers = [...text.matchAll(/^(\d+)\. /gm)].map(([, number]) => Number(number));
    expect(numbers).toEqual(invariants.map((_, index) => index + 1));
    expect(numbers.length).toBeGreaterThan(10);
  });

  it.each(invariants.map((invariant) => [invariant.split("\n")[0], invariant]))("%s", (_title, invariant) => {
    const tests = [...(invariant ?? "").matchAll(/`(test\/[\w./-]+)` › "([^"]+)"/g)];
    expect(tests.length).toBeGreaterThan(0);
    for (const [, file = "", title = ""] of tests) {
      expect(readFileSync(join(packageRoot, file), "utf8")).toContain(title);
    }
  });
});
