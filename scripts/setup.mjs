#!/usr/bin/env node
// Prepares a fresh clone and runs a command: node scripts/setup.mjs [--for build|vm|demo|test] [-- COMMAND ARGS…]
// Plain JavaScript without dependencies, because it runs before they are installed. Every step is skipped when it is
// done already, so `npm test` and `npm run demo` always begin with this.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { isAtLeast } from "../test/vm/qemu-version.mjs";
import { ensurePackages } from "./setup/apt.mjs";
import { PURPOSES } from "./setup/packages.mjs";
import { SetupError, say, step } from "./setup/steps.mjs";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MINIMUM_NODE = "20.15";
const STAMP = join(ROOT, "build/setup-stamp");
/** The inputs of `npm run build`, and one output of each kind. */
const BUILD_FILES = [
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
  "vite.config.ts",
  "CMakeLists.txt",
];
const BUILD_FOLDERS = ["common", "proto", "viewer", "guest", "host", "cli"];
const BUILD_OUTPUTS = ["dist/cli/main.js", "dist/viewer/page/index.html", "build/addon"];
const USAGE = `Usage: node scripts/setup.mjs [--for ${Object.keys(PURPOSES).join("|")}] [-- COMMAND ARGS…]
Installs what is missing (packages, node_modules, the build), then runs COMMAND. Default: --for test.`;

function parseArguments(args) {
  const separator = args.includes("--") ? args.indexOf("--") : args.length;
  const command = args.slice(separator + 1);
  const options = { for: { type: "string", default: "test" }, help: { type: "boolean", short: "h" } };
  try {
    const { values } = parseArgs({ args: args.slice(0, separator), options });
    if (values.help) return undefined;
    if (Object.hasOwn(PURPOSES, values.for)) return { purpose: values.for, command };
    throw new SetupError(`invalid purpose "${values.for}"`);
  } catch (error) {
    throw new SetupError(`${error.message}\n${USAGE}`);
  }
}

function checkNode() {
  if (!isAtLeast(process.versions.node, MINIMUM_NODE)) {
    throw new SetupError(
      `Node ${process.versions.node} is too old; ${MINIMUM_NODE} or newer is required. Install Debian 13's package nodejs ` +
        "or a current release of Node.",
    );
  }
}

async function ensureModules() {
  const installed = join(ROOT, "node_modules/.package-lock.json");
  const lock = join(ROOT, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) {
    return;
  }
  const advice = "If the registry cannot be reached, fix that and run the same command again.";
  await step("installing node modules", "npm", ["--prefix", ROOT, "ci", "--no-audit", "--no-fund"], advice);
}

/** A hash of all sources; generated ones are outputs. */
function buildKey() {
  const hash = createHash("sha256").update(`${process.version} ${process.arch}`);
  const sources = BUILD_FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true })
      .filter((name) => !/(^|\/)(gen|node_modules|build)(\/|$)/.test(name))
      .map((name) => join(folder, name)),
  );
  for (const file of [...BUILD_FILES, ...sources.sort()]) {
    if (!statSync(join(ROOT, file)).isFile()) continue;
    const content = readFileSync(join(ROOT, file));
    hash.update(`${file} ${content.length}\n`).update(content);
  }
  return hash.digest("hex");
}

async function ensureBuild() {
  const key = buildKey();
  const whole = BUILD_OUTPUTS.every((name) => existsSync(join(ROOT, name)));
  if (whole && existsSync(STAMP) && readFileSync(STAMP, "utf8") === key) {
    return;
  }
  const advice = 'For the whole output, run "npm run build".';
  const title = "building (generated code, TypeScript, native addons)";
  await step(title, "npm", ["--prefix", ROOT, "run", "build"], advice);
  mkdirSync(dirname(STAMP), { recursive: true });
  writeFileSync(STAMP, key);
}

/** Runs the command in this terminal and forwards signals. @returns its exit status, as a shell reports it */
function runCommand([program, ...args]) {
  const path = `${join(ROOT, "node_modules/.bin")}${delimiter}${process.env.PATH ?? ""}`;
  const child = spawn(program, args, { stdio: "inherit", env: { ...process.env, PATH: path } });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      // The terminal sends Ctrl-C to the child itself.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new SetupError(`cannot run ${program}: ${error.message}`)));
    child.once("close", (status, signal) =>
      resolve(signal === null ? status : 128 + constants.signals[signal]),
    );
  });
}

try {
  checkNode();
  const options = parseArguments(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(`${USAGE}\n`);
  } else {
    await ensurePackages(options.purpose);
    await ensureModules();
    await ensureBuild();
    if (options.command.length > 0) process.exitCode = await runCommand(options.command);
    else say(`ready for: ${options.purpose}`);
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`[setup] ${error.message}\n`);
  process.exitCode = 1;
}
