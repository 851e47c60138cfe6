/** The report of the bench: rows of one table, charts, and the machine. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";

/** One line of the table. Times and sizes are medians unless `what` says otherwise. */
export interface Row {
  /** The case that measured it (`--only`). */
  readonly name: string;
  readonly what: string;
  readonly unit: string;
  readonly measured: number;
  readonly p95?: number;
  /** Measured in the same run unless the text states otherwise. */
  readonly baseline?: { readonly what: string; readonly value: number; readonly p95?: number };
  /** measured / baseline; where blocks alternated, the median of the ratios of neighbouring blocks. */
  readonly ratio?: number;
  /** Frames, or repetitions, behind `measured`. */
  readonly samples: number;
  /** The design's bound, in words; absent if the figure is only reported. */
  readonly bound?: string;
  readonly met?: boolean;
}

export interface Report {
  readonly command: string;
  readonly commit: string;
  readonly machine: ReturnType<typeof describeMachine>;
  readonly rows: readonly Row[];
  /** Cases that did not run, and why. */
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
}

export const describeMachine = () => ({
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: readFileSync("/proc/sys/kernel/osrelease", "utf8").trim(),
  node: process.version,
  /** Load average of the last minute before the first case. */
  load: loadavg()[0] ?? 0,
});

/** The measured commit, with the suffix "-dirty" if files differ; "unknown" outside a checkout. */
export function describeCommit(folder: string): string {
  try {
    const args = ["-C", folder, "describe", "--always", "--dirty", "--exclude=*"];
    return execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown";
  }
}

/** A number with three significant digits. */
function readable(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function withP95(value: number, p95: number | undefined, unit: string): string {
  return `${readable(value)}${p95 === undefined ? "" : ` (p95 ${readable(p95)})`} ${unit}`;
}

const verdict = ({ met }: Row): string => (met === undefined ? "reported" : met ? "met" : "MISSED");

const COLUMNS = ["case", "what", "measured", "baseline", "ratio", "bound", "", "n"] as const;

function cells(row: Row): string[] {
  const { baseline } = row;
  return [
    row.name,
    row.what,
    withP95(row.measured, row.p95, row.unit),
    baseline === undefined ? "" : `${withP95(baseline.value, baseline.p95, row.unit)} ${baseline.what}`,
    row.ratio === undefined ? "" : readable(row.ratio),
    row.bound ?? "",
    verdict(row),
    row.samples.toLocaleString("en"),
  ];
}

/** The table for a terminal. */
export function renderTable(rows: readonly Row[]): string {
  const table = [[...COLUMNS], ...rows.map(cells)];
  const widths = COLUMNS.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  const text = (line: readonly string[]): string =>
    line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
  return table.map((line) => text(line).trimEnd()).join("\n");
}

/** The table for docs/performance.md. */
export function renderMarkdown(rows: readonly Row[]): string {
  const line = (parts: readonly string[]): string => `| ${parts.join(" | ")} |`;
  return [line(COLUMNS), line(COLUMNS.map(() => "---")), ...rows.map((row) => line(cells(row)))].join("\n");
}
