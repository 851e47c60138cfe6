import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { temporaryFolder } from "../support/folder.ts";
import type { Case } from "./case.ts";
import { CASES } from "./cases/index.ts";
import { renderSvg } from "./charts.ts";
import { type Report, type Row, renderMarkdown, renderTable } from "./report.ts";
import { median, quantile, slope } from "./statistics.ts";

const bench = (...args: readonly string[]) =>
  spawnSync("npx", ["tsx", "test/bench/main.ts", ...args], { cwd: packageRoot, encoding: "utf8" });

describe("npm run bench", () => {
  const folder = temporaryFolder();

  it("measures and reports every case outside the VM", () => {
    const inFolder = (name: string): string => join(folder, name);
    const json = inFolder("report.json");
    const files = ["--json", json, "--charts", inFolder("charts"), "--markdown", inFolder("table.md")];
    const { status, stderr } = bench("--quick", "--no-vm", ...files);
    expect(status, stderr).toBe(0);
    const report = JSON.parse(readFileSync(json, "utf8")) as Report;
    const runs = ({ inVm, encoder, needsMinutes }: Case): boolean =>
      inVm !== true && encoder === undefined && needsMinutes !== true;
    const skipped = CASES.filter((each) => !runs(each));
    expect(report.skipped.map(({ name }) => name)).toEqual(skipped.map(({ name }) => name));
    const measured = new Set(report.rows.map(({ name }) => name));
    expect(measured).toEqual(new Set(CASES.filter(runs).map(({ name }) => name)));
    for (const row of report.rows) {
      expect(row.samples, row.what).toBeGreaterThan(0);
      // JSON has no NaN: a figure that could not be computed reads back as null.
      expect(row.measured, row.what).toEqual(expect.any(Number));
      if (row.baseline !== undefined) expect(row.ratio, row.what).toEqual(expect.any(Number));
      expect(row.bound === undefined, row.what).toBe(row.met === undefined);
    }
    expect(report.machine.cores).toBeGreaterThan(0);
    expect(readFileSync(inFolder("table.md"), "utf8").split("\n").length).toBe(report.rows.length + 3);
    for (const file of readdirSync(inFolder("charts"))) {
      expect(readFileSync(join(inFolder("charts"), file), "utf8")).not.toMatch(/NaN|Infinity|undefined/);
    }
  });

  it("measures what is left of attacks", () => {
    const json = join(folder, "endurance.json");
    const few = ["--frames", "10", "--attacks", "pings", "sessions"];
    const { status, stderr } = bench("--only", "endurance", "--minutes", "0", ...few, "--json", json);
    expect(status, stderr).toBe(0);
    const { rows } = JSON.parse(readFileSync(json, "utf8")) as Report;
    expect(rows.map(({ unit }) => unit)).toEqual(["MiB", "descriptors", "processes", "frames"]);
    for (const row of rows) expect(row.measured).toBeGreaterThan(0);
  });

  it("lists the cases when given an unknown one", () => {
    const { status, stderr } = bench("--only", "nonsense");
    expect(status).not.toBe(0);
    expect(stderr).toContain(CASES[0]?.name);
  });
});

describe("statistics", () => {
  it("interpolates quantiles in any order", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([10, 0], 0.95)).toBeCloseTo(9.5);
    expect(median([])).toBeNaN();
  });

  it("fits a line", () => {
    expect(slope([1, 2, 3].map((x) => ({ x, y: 2 * x + 1 })))).toBeCloseTo(2);
  });
});

describe("the table", () => {
  const row: Row = { name: "a", what: "b", unit: "µs", measured: 1234.5, samples: 1000 };

  it("shows whether a bound is met, missed or absent", () => {
    const rows = [row, { ...row, bound: "≤ 1", met: false }, { ...row, bound: "≤ 2000", met: true }];
    const verdicts = /reported[\s\S]*MISSED[\s\S]*met/;
    expect(renderTable(rows)).toMatch(verdicts);
    expect(renderMarkdown(rows)).toMatch(verdicts);
  });
});

describe("charts", () => {
  const chart = { file: "c", title: "<a> & b", yLabel: "µs", labels: ["g"] } as const;

  it("escape text", () => {
    const svg = renderSvg({ ...chart, kind: "bars", series: [{ label: "s", values: [3] }] });
    expect(svg).toContain("&#60;a&#62; &#38; b");
  });

  it.each([[0], [5]])("draw the single value %i", (value) => {
    for (const kind of ["bars", "lines"] as const) {
      const svg = renderSvg({ ...chart, kind, series: [{ label: "s", values: [value] }] });
      expect(svg).not.toMatch(/NaN|Infinity/);
    }
  });
});
