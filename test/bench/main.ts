/**
 * `npm run bench`: measures the design's bounds, each against a baseline of the same run, and reports which are met.
 *
 * A missed bound does not fail the command, because timing depends on the machine and its load. docs/performance.md
 * explains the method and has the figures of one run.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Command, Option } from "commander";
import { errorText } from "../../common/error-text.ts";
import { packageRoot } from "../../common/package-root.ts";
import { ENCODER_NAMES } from "../../host/encoders/index.ts";
import { wholeNumber } from "../support/whole-number.ts";
import type { Case } from "./case.ts";
import { CASES } from "./cases/index.ts";
import { type Chart, renderSvg } from "./charts.ts";
import { FAULTS } from "./faults/faults.ts";
import { ATTACKS } from "./hostile/attacks.ts";
import {
  describeCommit,
  describeMachine,
  type Report,
  type Row,
  renderMarkdown,
  renderTable,
} from "./report.ts";
import { bootVmBench, type VmBench } from "./support/vm-bench.ts";

const FRAMES = 1000;
const QUICK_FRAMES = 20;
const KILLS = 100;
const QUICK_KILLS = 2;
const ENCODERS = [...ENCODER_NAMES, ...CASES.flatMap(({ encoder }) => encoder ?? [])];

interface Options extends Partial<Record<"json" | "markdown" | "charts", string>> {
  readonly only?: readonly string[];
  readonly frames?: number;
  readonly attacks?: readonly string[];
  readonly faults?: readonly string[];
  readonly kills?: number;
  readonly seed: number;
  readonly minutes?: number;
  readonly encoder: string;
  readonly vm: boolean;
  readonly quick?: true;
}

function say(line: string): void {
  console.error(`[bench] ${line}`);
}

function write(file: string, content: string): void {
  mkdirSync(dirname(resolve(file)), { recursive: true });
  writeFileSync(file, content);
}

async function bench(options: Options): Promise<void> {
  const { encoder, attacks, faults, seed, minutes } = options;
  const frames = options.frames ?? (options.quick === true ? QUICK_FRAMES : FRAMES);
  const kills = options.kills ?? (options.quick === true ? QUICK_KILLS : KILLS);
  const chosen = CASES.filter(({ name }) => options.only?.includes(name) ?? true);
  const machine = describeMachine();
  const rows: Row[] = [];
  const charts: Chart[] = [];
  const skipped: { name: string; why: string }[] = [];
  let booting: Promise<VmBench> | undefined;
  const vm = (): Promise<VmBench> => {
    booting ??= bootVmBench(encoder, say);
    return booting;
  };
  const ownEncoder = CASES.find((one) => one.encoder === encoder)?.encoder;
  const measure = async (each: Case): Promise<void> => {
    const { name } = each;
    if (each.encoder !== ownEncoder) return void skipped.push({ name, why: `--encoder ${encoder}` });
    if (each.inVm === true && !options.vm) return void skipped.push({ name, why: "--no-vm" });
    if (each.needsMinutes === true && minutes === undefined)
      return void skipped.push({ name, why: "without --minutes" });
    say(`${name}: ${each.what}`);
    const findings = await each.run({ frames, encoder, attacks, faults, kills, seed, minutes, vm });
    rows.push(...findings.rows.map((row) => ({ name, ...row })));
    charts.push(...(findings.charts ?? []));
  };
  try {
    for (const each of chosen) await measure(each);
  } finally {
    await (await booting)?.shutdown();
  }

  const command = ["npm run bench --", ...process.argv.slice(2)].join(" ");
  const report: Report = { command, commit: describeCommit(packageRoot), machine, rows, skipped };
  console.log(`\n${renderTable(rows)}\n`);
  for (const { name, why } of skipped) console.log(`skipped ${name}: ${why}`);
  if (options.json !== undefined) write(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (options.markdown !== undefined) write(options.markdown, `${renderMarkdown(rows)}\n`);
  if (options.charts !== undefined) {
    for (const chart of charts) write(join(options.charts, `${chart.file}.svg`), renderSvg(chart));
  }
}

const program = new Command("npm run bench --")
  .description("measure the bounds of the design, each against a baseline of the same run")
  .addOption(new Option("--only <cases...>", "cases to run").choices(CASES.map(({ name }) => name)))
  .option(
    "--frames <n>",
    `frames behind each median (default: ${FRAMES}, quick: ${QUICK_FRAMES})`,
    wholeNumber(1, 1_000_000),
  )
  .addOption(new Option("--encoder <name>", "the real encoder").choices(ENCODERS).default("libx264"))
  .addOption(
    new Option(
      "--attacks <names...>",
      "attacks of the cases hostile and endurance (default: all, and fairness)",
    ).choices(ATTACKS.map(({ name }) => name)),
  )
  .addOption(
    new Option("--faults <names...>", "what the case faults kills (default: each)").choices(
      FAULTS.map(({ name }) => name),
    ),
  )
  .option(
    "--kills <n>",
    `kills of each process in the case faults, and of the port in vm-port (default: ${KILLS}, quick: ${QUICK_KILLS})`,
    wholeNumber(1, 10_000),
  )
  .option("--seed <n>", "of the moments of kills", wholeNumber(1, 0xffffffff), 1)
  .option("--minutes <n>", "run the case endurance, for so long", wholeNumber(0, 100_000))
  .option("--no-vm", "skip cases that boot a VM")
  .option("--quick", "few frames: checks that the bench works, measures nothing")
  .option("--json <file>", "file for the report")
  .option("--markdown <file>", "file for the table of docs/performance.md")
  .option("--charts <folder>", "folder for the charts, as SVG")
  .addHelpText(
    "after",
    `\nCases:\n${CASES.map(({ name, what }) => `  ${name.padEnd(16)} ${what}`).join("\n")}`,
  )
  .parse();

await bench(program.opts<Options>()).catch((error: unknown) => {
  say(errorText(error));
  process.exitCode = 1;
});
