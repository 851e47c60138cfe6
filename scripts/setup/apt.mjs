// Debian and Ubuntu packages, and a recent enough QEMU. Installs only what is missing.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { isAtLeast, MINIMUM_QEMU, parseQemuVersion } from "../../test/vm/qemu-version.mjs";
import { PACKAGES, PURPOSES } from "./packages.mjs";
import { SetupError, say, step } from "./steps.mjs";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const BACKPORTS_FILE = "/etc/apt/sources.list.d/vsockenc-backports.sources";
const MIRROR_ADVICE = "If a mirror cannot be reached, fix that and run the same command again.";
const isRoot = process.getuid?.() === 0;

/** What a quick command prints; "" when it does not exist. */
function output(command, ...args) {
  return spawnSync(command, args, { encoding: "utf8", env: { ...process.env, LC_ALL: "C" } }).stdout ?? "";
}

/** A field of os-release, e.g. ID; "" where it is missing. */
function distribution(field) {
  const fields = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  return new RegExp(`^${field}="?([^"\n]*)"?$`, "m").exec(fields)?.[1] ?? "";
}

function missing(names) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
  const format = "${Package} ${db:Status-Status}\\n";
  const installed = new Set(output("dpkg-query", "-W", "-f", format, ...names).split("\n"));
  return names.filter((name) => !installed.has(`${name} installed`));
}

/** Runs a step as root: directly, or with sudo. */
async function asRoot(title, advice, command, ...args) {
  if (isRoot) {
    await step(title, command, args, advice);
  } else if (output("sudo", "--version") !== "") {
    await step(`${title} (with sudo)`, "sudo", [command, ...args], advice);
  } else {
    throw new SetupError(
      `${title} requires root, and sudo is not installed. As root, run:\n  ${command} ${args.join(" ")}\nthen this again.`,
    );
  }
}

let updated = false;
async function update() {
  if (!updated) await asRoot("reading the package lists", MIRROR_ADVICE, "apt-get", "-q", "update");
  updated = true;
}

/** @param options of apt-get, e.g. the suite */
async function install(names, ...options) {
  if (names.length === 0) return;
  await update();
  const command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install"];
  const title = `installing packages (${names.length}): ${names.join(" ")}`;
  await asRoot(title, MIRROR_ADVICE, ...command, "--no-install-recommends", ...options, ...names);
}

/** The sanitizers' run-time library of the distribution's clang, where it is a package of its own (LLVM 14.0.6 and later). */
function clangRuntime() {
  const version = /Depends: clang-(\d+)/.exec(output("apt-cache", "depends", "clang"))?.[1];
  const name = `libclang-rt-${version}-dev`;
  return output("apt-cache", "show", name) === "" ? [] : [name];
}

/** Installs the missing packages of a purpose. @throws SetupError */
export async function ensurePackages(purpose) {
  if (process.env.VSOCKENC_SETUP_SKIP_PACKAGES === "1") return;
  const kinds = PURPOSES[purpose].filter((kind) => isRoot || kind !== "vmUser");
  const namesOf = (kind) => PACKAGES[kind].map(([name]) => name);
  if (!["debian", "ubuntu"].includes(distribution("ID")) || output("dpkg-query", "--version") === "") {
    const needed = [...new Set(kinds.flatMap(namesOf))].join(" ");
    throw new SetupError(
      `${distribution("PRETTY_NAME") || process.platform} is not supported: set-up installs packages on Debian and Ubuntu ` +
        `only. Install the equivalents of these Debian packages: ${needed} (QEMU: ${MINIMUM_QEMU} or newer). Then run ` +
        "this again with VSOCKENC_SETUP_SKIP_PACKAGES=1 in the environment.",
    );
  }
  await install(missing([...new Set(kinds.filter((kind) => kind !== "qemu").flatMap(namesOf))]));
  if (kinds.includes("test")) await install(missing(clangRuntime()));
  if (kinds.includes("qemu")) await ensureQemu(namesOf("qemu"));
}

/** The version of QEMU in PATH, and whether it is recent enough. */
function installedQemu() {
  const version = parseQemuVersion(output("qemu-system-x86_64", "--version"));
  return {
    version: version ?? "not installed",
    suffices: version !== undefined && isAtLeast(version, MINIMUM_QEMU),
  };
}

/** A suite in apt's sources with a recent enough QEMU, e.g. "bookworm-backports"; undefined without one. */
function suiteWithQemu() {
  const rows = output("apt-cache", "madison", "qemu-system-x86").matchAll(
    /\|\s*(?:\d+:)?(?<version>\d+\.\d+)\S*\s*\|.* (?<suite>[^ /]+)\/\S+ \S+ Packages$/gm,
  );
  return [...rows].find(({ groups }) => isAtLeast(groups.version, MINIMUM_QEMU))?.groups.suite;
}

async function ensureQemu(names) {
  const { version, suffices } = installedQemu();
  if (suffices) {
    const lacking = missing(names);
    // Parts of the QEMU that is installed come from its suite; a QEMU of the user's own has parts of its own.
    if (lacking.length === 0 || lacking.includes("qemu-system-x86")) return;
    await update();
    const from = suiteWithQemu();
    if (from !== undefined) await install(lacking, "-t", from);
    return;
  }
  say(`QEMU: ${version}; ${MINIMUM_QEMU} or newer is required`);
  await update();
  if (
    suiteWithQemu() === undefined &&
    distribution("ID") === "debian" &&
    distribution("VERSION_ID") === "12"
  ) {
    await addBackports(distribution("VERSION_CODENAME"));
  }
  const suite = suiteWithQemu();
  if (suite === undefined) {
    throw new SetupError(
      `${distribution("PRETTY_NAME")} has no QEMU ${MINIMUM_QEMU} or newer (older ones reject vhost-user-gpu without KVM). ` +
        "Use Debian 12 or 13 or Ubuntu 25.10 or newer, or put a newer qemu-system-x86_64 first in PATH.",
    );
  }
  await install(names, "-t", suite);
  const after = installedQemu();
  if (!after.suffices) {
    throw new SetupError(
      `qemu-system-x86_64 in PATH: ${after.version}, although ${suite}'s was installed. Is another one first in PATH?`,
    );
  }
}

/** Adds Debian's backports, from the mirror in this machine's apt configuration. */
async function addBackports(codename) {
  const site = output("apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(CODENAME)")
    .split("\n")
    .find((line) => line.endsWith(` Debian ${codename}`))
    ?.split(" ")[0];
  if (site === undefined) {
    throw new SetupError(
      `apt's sources contain no Debian mirror that could provide QEMU ${MINIMUM_QEMU}. Add ${codename}-backports to them, ` +
        "then run this again.",
    );
  }
  const lines = ["Types: deb", `URIs: ${site}`, `Suites: ${codename}-backports`, "Components: main"];
  if (existsSync(KEYRING)) lines.push(`Signed-By: ${KEYRING}`);
  // The text is an argument, so the shell does not interpret it.
  const write = ["sh", "-c", 'printf "%s\\n" "$2" >"$1"', "sh", BACKPORTS_FILE, lines.join("\n")];
  await asRoot(`adding ${codename}-backports for QEMU (${BACKPORTS_FILE})`, "Is /etc writable?", ...write);
  updated = false;
  try {
    await update();
  } catch (error) {
    // An unreadable source would break every later "apt-get update" of this machine.
    await asRoot(`removing ${BACKPORTS_FILE}`, "Remove it by hand.", "rm", "-f", BACKPORTS_FILE);
    throw error;
  }
}
