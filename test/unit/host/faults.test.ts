/** docs/faults.md names tests that exist, for each fault. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";

const FAULTS = 19;
const text = (file: string): string => readFileSync(join(packageRoot, file), "utf8");
const rows = text("docs/faults.md")
  .split("\n")
  .filter((line) => /^\| \d/.test(line))
  .map((line) => line.split("|").map((cell) => cell.trim()));

describe("docs/faults.md", () => {
  it("has each fault once", () => {
    const numbers = Array.from({ length: FAULTS }, (_, index) => String(index + 1));
    expect(rows.map(([, number]) => number)).toEqual(numbers);
  });

  it.each(rows.map(([, , fault = "", , tests = ""]) => [fault, tests]))("%s", (_fault, cell) => {
    const named = cell.split("; `").map((part) => /^`?(test\/[\w./-]+)` › "([^"]+)"$/.exec(part));
    // A part that names no test is a mistake, too.
    expect(named).not.toContain(null);
    for (const [, file = "", title = ""] of named.map((match) => match ?? [])) {
      expect(text(file), file).toContain(title);
    }
  });
});
