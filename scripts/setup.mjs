#!/usr/bin/env node
// Makes a fresh clone ready and runs a command: node scripts/setup.mjs [--for build|vm|demo|test] [-- COMMAND ARGS…]
// Plain JavaScript without dependencies, because it runs before there are any. Does only what is missing, so that
// `npm test` and `npm run demo` can begin with it every time.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isAtLeast } from "../test/vm/qemu-version.mjs";
import { ensurePackages } from "./setup/apt.mjs";
import { PURPOSES } from "./setup/packages.mjs";
import { SetupError, say, step } from "./setup/steps.mjs";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MINIMUM_NODE = "20.15";
const STAMP = join(ROOT, "build/setup-stamp");
/** What `npm run build` reads, and one file of each kind that it makes. */
const BUILD_INPUTS = [
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
  "vite.config.ts",
  "CMakeLists.txt",
];
const BUILD_INPUT_FOLDERS = ["common", "proto", "viewer", "guest", "host", "cli"];
const BUILD_OUTPUTS = ["dist/cli/main.js", "dist/viewer/page/index.html", "build/addon"];
const USAGE = `Usage: node scripts/setup.mjs [--for ${Object.keys(PURPOSES).join("|")}] [-- COMMAND ARGS…]
Installs what is missing (packages, node_modules, the build), then runs COMMAND. Default: --for test.`;

function parseArguments(args) {
  const separator = args.indexOf("--");
  const own = separator === -1 ? args : args.slice(0, separator);
  const command = separator === -1 ? [] : args.slice(separator + 1);
  let purpose = "test";
  for (let index = 0; index < own.length; index += 1) {
    if (own[index] === "--help" || own[index] === "-h") {
      process.stdout.write(`${USAGE}\n`);
      process.exit(0);
    }
    if (own[index] !== "--for" || PURPOSES[own[index + 1]] === undefined) {
      throw new SetupError(`I do not understand "${own.slice(index).join(" ")}".\n${USAGE}`);
    }
    purpose = own[index + 1];
    index += 1;
  }
  return { purpose, command };
}

function checkNode() {
  if (!isAtLeast(process.versions.node, MINIMUM_NODE)) {
    throw new SetupError(
      `This is Node ${process.versions.node}; ${MINIMUM_NODE} or newer is needed. Debian 13's package nodejs will do, ` +
        "or install a current release of Node.",
    );
  }
}

async function ensureModules() {
  const installed = join(ROOT, "node_modules/.package-lock.json");
  const lock = join(ROOT, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) {
    return;
  }
  const advice = "If the registry cannot be reached, mend that and run the same command again.";
  await step("installing node modules", "npm", ["--prefix", ROOT, "ci", "--no-audit", "--no-fund"], advice);
}

/** All files below a folder of sources, in a fixed order; generated ones belong to the outputs. */
function sourcesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .filter((entry) => !["gen", "node_modules", "build"].includes(entry.name))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? sourcesBelow(path) : [path];
    });
}

function buildKey() {
  const hash = createHash("sha256").update(`${process.version} ${process.arch}`);
  const folders = BUILD_INPUT_FOLDERS.map((name) => join(ROOT, name)).filter((path) => existsSync(path));
  const files = BUILD_INPUTS.map((name) => join(ROOT, name)).filter((path) => existsSync(path));
  for (const file of [...files, ...folders.flatMap(sourcesBelow)]) {
    const content = readFileSync(file);
    hash.update(`${file.slice(ROOT.length)} ${content.length}\n`).update(content);
  }
  return hash.digest("hex");
}

async function ensureBuild() {
  const key = buildKey();
  const whole = BUILD_OUTPUTS.every((name) => existsSync(join(ROOT, name)));
  if (whole && existsSync(STAMP) && readFileSync(STAMP, "utf8") === key) {
    return;
  }
  const advice = 'To see all of it, run "npm run build".';
  await step(
    "building (generated code, TypeScript, native addons)",
    "npm",
    ["--prefix", ROOT, "run", "build"],
    advice,
  );
  mkdirSync(dirname(STAMP), { recursive: true });
  writeFileSync(STAMP, key);
}

/** Runs the command in our place: same terminal, its status and signals are ours. */
function runCommand([program, ...args]) {
  const path = `${join(ROOT, "node_modules/.bin")}${delimiter}${process.env.PATH ?? ""}`;
  const child = spawn(program, args, { stdio: "inherit", env: { ...process.env, PATH: path } });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      // Ctrl-C reaches the child by itself: the terminal sends it to everyone.
      if (signal !== "SIGINT" || !process.stdin.isTTY) {
        child.kill(signal);
      }
    });
  }
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new SetupError(`Cannot run ${program}: ${error.message}`)));
    child.once("close", (status, signal) =>
      resolve(signal === null ? status : 128 + constants.signals[signal]),
    );
  });
}

try {
  const { purpose, command } = parseArguments(process.argv.slice(2));
  checkNode();
  await ensurePackages(purpose);
  await ensureModules();
  await ensureBuild();
  if (command.length > 0) {
    process.exitCode = await runCommand(command);
  } else {
    say(`ready for: ${purpose}`);
  }
} catch (error) {
  if (!(error instanceof SetupError)) {
    throw error;
  }
  process.stderr.write(`[setup] ${error.message}\n`);
  process.exitCode = 1;
}
