/**
 * `npm test`: runs every suite, one after the other, and ends with the line `N passed, N failed`.
 *
 * The numbers come from the runners' own result files (vitest's and ctest's); a runner that fails without a failed test
 * counts as one failure. The failed tests are named again at the end, because the log of all suites is long.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../common/package-root.ts";

interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** Names and messages of failed tests; absent: the runner gives none. */
  readonly failures?: readonly string[];
}

/** Of vitest's JSON report. */
interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    /** Of the file itself, e.g. of an import. */
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** Of a message at the end. */
const MESSAGE_CHARACTERS = 2000;

interface Suite {
  readonly name: string;
  readonly what: string;
  /** @param scratch an empty folder for result files */
  run(scratch: string): Promise<Counts>;
}

/** Runs a program and shows its output. @returns its exit status */
function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: packageRoot,
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, ...env },
    });
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
}

function counted(status: number, counts: Counts): Counts {
  return status !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

/** One test that passes if every command does. */
async function check(...commands: readonly (readonly string[])[]): Promise<Counts> {
  for (const [command = "", ...args] of commands) {
    if ((await run(command, args)) !== 0) return { passed: 0, failed: 1 };
  }
  return { passed: 1, failed: 0 };
}

async function vitest(project: string, scratch: string): Promise<Counts> {
  const file = join(scratch, "vitest.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const ended = await run("npx", ["vitest", "run", "--project", project, ...reporters]);
  const report = readJson(file) as VitestReport | undefined;
  if (report === undefined) return counted(ended, { passed: 0, failed: 0 });
  return counted(ended, {
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    failures: report.testResults.flatMap(({ name, status, message, assertionResults }) => {
      const failed = assertionResults.filter((result) => result.status === "failed");
      // A hook's error is not in the report.
      if (status === "failed" && failed.length === 0)
        return [failure(name, message || "see this file's part of the log")];
      return failed.map(({ fullName, failureMessages }) =>
        failure(`${name} > ${fullName}`, ...failureMessages),
      );
    }),
  });
}

function failure(name: string, ...messages: readonly string[]): string {
  const where = name.replace(`${packageRoot}/`, "");
  return `FAILED ${where}\n${messages.join("\n").slice(0, MESSAGE_CHARACTERS)}`;
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** Builds the plugin and the C tests with these sanitizers and runs ctest. */
async function ctest(scratch: string, sanitizers: string): Promise<Counts> {
  const build = join(packageRoot, "build", sanitizers === "" ? "element" : "element-sanitized");
  mkdirSync(build, { recursive: true });
  const configure = ["-S", packageRoot, "-B", build, "-G", "Ninja", `-DVSOCKENC_SANITIZE=${sanitizers}`];
  if ((await run("cmake", configure)) !== 0) return { passed: 0, failed: 1 };
  if ((await run("cmake", ["--build", build])) !== 0) return { passed: 0, failed: 1 };
  const junit = join(scratch, "ctest.xml");
  const options = [
    "--parallel",
    String(availableParallelism()),
    "--output-on-failure",
    "--output-junit",
    junit,
  ];
  const status = await run("ctest", ["--test-dir", build, ...options]);
  const report = readFileSync(junit, "utf8");
  const suite = /<testsuite[^>]*>/.exec(report)?.[0] ?? "";
  const number = (name: string): number => Number(new RegExp(`${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  return counted(status, {
    passed: number("tests") - failed - number("skipped") - number("disabled"),
    failed,
    failures: [...report.matchAll(/<testcase name="([^"]*)"[^>]*status="fail"/g)].map(([, name = ""]) =>
      failure(name),
    ),
  });
}

const SUITES: readonly Suite[] = [
  {
    name: "lint",
    what: "formatting, lint and types",
    run: () =>
      check(
        ["npx", "biome", "check", "."],
        ["npx", "tsc", "--noEmit"],
        ["npx", "tsc", "--noEmit", "-p", "viewer/page"],
        ["npx", "tsc", "--noEmit", "-p", "viewer/page/worker"],
        ["npx", "tsx", "scripts/check-c-format.ts"],
      ),
  },
  {
    name: "unit",
    what: "TypeScript and native code on this machine",
    run: (scratch) => vitest("unit", scratch),
  },
  { name: "fuzz", what: "a minute of each fuzz target", run: (scratch) => vitest("fuzz", scratch) },
  {
    name: "videotoolbox",
    what: "the VideoToolbox back end against a stand-in for its API, under sanitizers",
    run: (scratch) => vitest("videotoolbox", scratch),
  },
  { name: "element", what: "the GStreamer element on this machine", run: (scratch) => ctest(scratch, "") },
  {
    name: "sanitized",
    what: "the C code under AddressSanitizer and UndefinedBehaviorSanitizer",
    run: (scratch) => ctest(scratch, "address,undefined"),
  },
  {
    name: "pipelines",
    what: "the element in pipelines and harnesses with a real relay",
    run: (scratch) => vitest("pipelines", scratch),
  },
  {
    name: "valgrind",
    what: "bad accesses and leaks in the element",
    run: (scratch) => vitest("valgrind", scratch),
  },
  {
    name: "browser",
    what: "the viewer's page in a real browser, with the real server",
    run: (scratch) => vitest("browser", scratch),
  },
  { name: "vm", what: "real guests under QEMU", run: (scratch) => vitest("vm", scratch) },
];

async function main(): Promise<void> {
  const program = new Command("test")
    .description("run the test suites")
    .option("--only <suites...>", `some of: ${SUITES.map(({ name }) => name).join(", ")}`)
    .parse();
  const { only } = program.opts<{ only?: string[] }>();
  const unknown = only?.filter((name) => !SUITES.some((suite) => suite.name === name)) ?? [];
  if (unknown.length > 0) program.error(`unknown suite: ${unknown.join(", ")}`);

  const rows: (Counts & { name: string; seconds: number })[] = [];
  for (const suite of SUITES.filter(({ name }) => only === undefined || only.includes(name))) {
    console.log(`\n== ${suite.name}: ${suite.what}`);
    const scratch = mkdtempSync(join(tmpdir(), "vsockenc-test-"));
    const started = performance.now();
    const counts = await suite.run(scratch).finally(() => rmSync(scratch, { recursive: true, force: true }));
    rows.push({ name: suite.name, ...counts, seconds: Math.round((performance.now() - started) / 1000) });
  }
  const sum = (key: "passed" | "failed"): number => rows.reduce((total, row) => total + row[key], 0);
  console.log("");
  for (const text of rows.flatMap(({ failures = [] }) => failures)) console.log(`${text}\n`);
  for (const { name, passed, failed, seconds } of rows) {
    console.log(`${name.padEnd(12)} ${passed} passed, ${failed} failed in ${seconds} s`);
  }
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
  process.exitCode = sum("failed") === 0 && sum("passed") > 0 ? 0 : 1;
}

await main();
