import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { CASES } from "./cases/index.ts";
import { type Chart, renderSvg } from "./charts.ts";
import { type Report, type Row, renderMarkdown, renderTable } from "./report.ts";
import { median, quantile, slope } from "./statistics.ts";

describe("npm run bench", () => {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-test-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("measures every case outside the VM and reports all of it", () => {
    const json = join(folder, "report.json");
    const outputs = [
      "--json",
      json,
      "--charts",
      join(folder, "charts"),
      "--markdown",
      join(folder, "table.md"),
    ];
    const args = ["tsx", "test/bench/main.ts", "--quick", "--no-vm", ...outputs];
    const { status, stderr } = spawnSync("npx", args, { cwd: packageRoot, encoding: "utf8" });
    expect(status, stderr).toBe(0);
    const report = JSON.parse(readFileSync(json, "utf8")) as Report;
    expect(report.skipped.map(({ name }) => name)).toEqual(
      CASES.filter(({ inVm, encoder }) => inVm || encoder !== undefined).map(({ name }) => name),
    );
    expect(new Set(report.rows.map(({ name }) => name))).toEqual(
      new Set(CASES.filter(({ inVm, encoder }) => !inVm && encoder === undefined).map(({ name }) => name)),
    );
    for (const row of report.rows) {
      expect(row.samples, row.what).toBeGreaterThan(0);
      // JSON has no NaN: a figure that could not be computed reads back as null.
      expect(row.measured, row.what).toEqual(expect.any(Number));
      if (row.baseline !== undefined) expect(row.ratio, row.what).toEqual(expect.any(Number));
      expect(row.bound === undefined, row.what).toBe(row.met === undefined);
    }
    expect(report.machine.cores).toBeGreaterThan(0);
    expect(readFileSync(join(folder, "table.md"), "utf8").split("\n").length).toBe(report.rows.length + 3);
    for (const file of readdirSync(join(folder, "charts"))) {
      expect(readFileSync(join(folder, "charts", file), "utf8")).not.toMatch(/NaN|Infinity|undefined/);
    }
  });

  it("names the cases that there are when asked for another", () => {
    const args = ["tsx", "test/bench/main.ts", "--only", "nonsense"];
    const { status, stderr } = spawnSync("npx", args, { cwd: packageRoot, encoding: "utf8" });
    expect(status).not.toBe(0);
    expect(stderr).toContain(CASES[0]?.name);
  });
});

describe("statistics", () => {
  it("interpolates quantiles, whatever the order", () => {
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

  it("says whether a bound is met, missed or only reported", () => {
    const rows = [row, { ...row, bound: "≤ 1", met: false }, { ...row, bound: "≤ 2000", met: true }];
    const verdicts = /reported[\s\S]*MISSED[\s\S]*met/;
    expect(renderTable(rows)).toMatch(verdicts);
    expect(renderMarkdown(rows)).toMatch(verdicts);
  });
});

describe("charts", () => {
  const chart: Chart = {
    ...{ kind: "bars", file: "c", title: "<a> & b", yLabel: "µs", series: ["s"] },
    groups: [{ label: "g", values: [3] }],
  };

  it("escapes text", () => {
    expect(renderSvg(chart)).toContain("&#60;a&#62; &#38; b");
  });

  it("draws a single point, and nothing but zeros", () => {
    const base = { kind: "lines", file: "l", title: "t", xLabel: "x", yLabel: "y" } as const;
    for (const point of [
      { x: 0, y: 0 },
      { x: 0, y: 5 },
      { x: 7, y: 0 },
    ]) {
      expect(renderSvg({ ...base, lines: [{ label: "l", points: [point] }] })).not.toMatch(/NaN|Infinity/);
    }
  });
});
