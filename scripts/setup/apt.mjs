// Debian and Ubuntu packages, and a QEMU that is new enough. Only what is missing is touched.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { isAtLeast, MINIMUM_QEMU, parseQemuVersion } from "../../test/vm/qemu-version.mjs";
import { PACKAGES, PURPOSES } from "./packages.mjs";
import { SetupError, say, step } from "./steps.mjs";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const BACKPORTS_FILE = "/etc/apt/sources.list.d/vsockenc-backports.sources";
const APT_ADVICE = "If a mirror cannot be reached, mend that and run the same command again.";
const isRoot = process.getuid?.() === 0;

/** What a quick command prints; "" when it fails or does not exist. */
function output(command, args) {
  return spawnSync(command, args, { encoding: "utf8", env: { ...process.env, LC_ALL: "C" } }).stdout ?? "";
}

/** ID, ID_LIKE and VERSION_ID of the distribution. */
function distribution() {
  const fields = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const field = (name) => new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(fields)?.[1] ?? "";
  return {
    id: field("ID"),
    version: field("VERSION_ID"),
    name: field("PRETTY_NAME"),
    codename: field("VERSION_CODENAME"),
  };
}

/** The packages for a use, each once; QEMU's own apart. */
export function wantedPackages(purpose) {
  const kinds = PURPOSES[purpose].filter((kind) => kind !== "qemu");
  if (kinds.includes("vm") && !isRoot) {
    kinds.push("vmUser");
  }
  return [...new Set(kinds.flatMap((kind) => PACKAGES[kind].map(([name]) => name)))];
}

function missing(names) {
  const installed = new Set(
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
    output("dpkg-query", ["-W", "-f", "${Package} ${db:Status-Status}\\n", ...names])
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return names.filter((name) => !installed.has(name));
}

/** Runs a step as root: directly, or with sudo. */
async function asRoot(title, command, args, advice) {
  if (isRoot) {
    await step(title, command, args, advice);
  } else if (output("sudo", ["--version"]) !== "") {
    await step(`${title} (with sudo)`, "sudo", [command, ...args], advice);
  } else {
    throw new SetupError(
      `${title}: that needs root, and there is no sudo. As root, run:\n  ${command} ${args.join(" ")}\nthen this again.`,
    );
  }
}

let updated = false;
async function update() {
  if (!updated) {
    await asRoot("reading the package lists", "apt-get", ["-q", "update"], APT_ADVICE);
    updated = true;
  }
}

async function install(names, options = []) {
  const args = [
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "-q",
    "-y",
    "install",
    "--no-install-recommends",
  ];
  const title = `installing ${names.length} package${names.length === 1 ? "" : "s"}: ${names.join(" ")}`;
  await asRoot(title, "env", [...args, ...options, ...names], APT_ADVICE);
}

/** The sanitizers' run-time library is named after the version of clang that the distribution calls "clang". */
function clangRuntime() {
  const version = /Depends: clang-(\d+)/.exec(output("apt-cache", ["depends", "clang"]))?.[1];
  if (version === undefined) {
    return undefined;
  }
  const name = `libclang-rt-${version}-dev`;
  // Before LLVM 14.0.6 the library was in another package.
  return output("apt-cache", ["show", name]) === "" ? `libclang-common-${version}-dev` : name;
}

/** Installs what is missing for `purpose`. */
export async function ensurePackages(purpose) {
  if (process.env.VSOCKENC_SETUP_SKIP_PACKAGES === "1") {
    return;
  }
  const names = wantedPackages(purpose);
  const needsQemu = PURPOSES[purpose].includes("qemu");
  if (!["debian", "ubuntu"].includes(distribution().id) || output("dpkg-query", ["--version"]) === "") {
    const all = [...names, ...(needsQemu ? PACKAGES.qemu.map(([name]) => name) : [])];
    throw new SetupError(
      `This is ${distribution().name || process.platform}; packages are installed on Debian and Ubuntu only. ` +
        `Install what these Debian packages have: ${all.join(" ")}` +
        `${needsQemu ? ` (QEMU ${MINIMUM_QEMU} or newer)` : ""}. ` +
        `Then run this again with VSOCKENC_SETUP_SKIP_PACKAGES=1 in the environment.`,
    );
  }
  const toInstall = missing(names);
  if (toInstall.length > 0) {
    await update();
    await install(toInstall);
  }
  if (PURPOSES[purpose].includes("test")) {
    const runtime = clangRuntime();
    if (runtime !== undefined && missing([runtime]).length > 0) {
      await update();
      await install([runtime]);
    }
  }
  if (needsQemu) {
    await ensureQemu();
  }
}

function installedQemu() {
  return parseQemuVersion(output("qemu-system-x86_64", ["--version"]));
}

/** A suite of apt's that has a new enough QEMU, e.g. "bookworm-backports". */
function suiteWithQemu() {
  for (const line of output("apt-cache", ["madison", "qemu-system-x86"]).split("\n")) {
    const [, version, source] = line.split("|").map((column) => column.trim());
    const upstream = /^(?:\d+:)?(\d+\.\d+)/.exec(version ?? "")?.[1];
    const suite = / ([^ /]+)\/\S+ \S+ Packages$/.exec(` ${source}`)?.[1];
    if (upstream !== undefined && suite !== undefined && isAtLeast(upstream, MINIMUM_QEMU)) {
      return suite;
    }
  }
  return undefined;
}

async function ensureQemu() {
  const before = installedQemu();
  if (before !== undefined && isAtLeast(before, MINIMUM_QEMU)) {
    return;
  }
  say(
    before === undefined
      ? "QEMU is not installed"
      : `QEMU ${before} is installed, at least ${MINIMUM_QEMU} is needed`,
  );
  await update();
  let suite = suiteWithQemu();
  const { id, version, codename, name } = distribution();
  if (suite === undefined && id === "debian" && version === "12") {
    await addBackports(codename);
    suite = suiteWithQemu();
  }
  if (suite === undefined) {
    throw new SetupError(
      `${name} has no QEMU ${MINIMUM_QEMU} or newer (older ones refuse vhost-user-gpu without KVM). Use Debian 12 or 13 ` +
        `or Ubuntu 25.10 or newer, or install a newer QEMU so that qemu-system-x86_64 is found first in PATH.`,
    );
  }
  await install(
    PACKAGES.qemu.map(([packageName]) => packageName),
    ["-t", suite],
  );
  const after = installedQemu();
  if (after === undefined || !isAtLeast(after, MINIMUM_QEMU)) {
    throw new SetupError(
      `qemu-system-x86_64 in PATH is ${after ?? "absent"} though ${suite}'s was installed. Is there another one in PATH?`,
    );
  }
}

/** Adds Debian's backports from the mirror that this machine uses already. */
async function addBackports(codename) {
  const site = output("apt-get", ["indextargets", "--format", "$(SITE) $(ORIGIN) $(CODENAME)"])
    .split("\n")
    .map((line) => line.split(" "))
    .find(([, origin, suite]) => origin === "Debian" && suite === codename)?.[0];
  if (site === undefined) {
    throw new SetupError(
      `This machine's apt has no Debian mirror from which QEMU ${MINIMUM_QEMU} could come. Add ${codename}-backports to ` +
        "its sources, then run this again.",
    );
  }
  const lines = ["Types: deb", `URIs: ${site}`, `Suites: ${codename}-backports`, "Components: main"];
  if (existsSync(KEYRING)) {
    lines.push(`Signed-By: ${KEYRING}`);
  }
  // The text goes as an argument: nothing in it is read by the shell.
  const write = ["-c", 'printf "%s\\n" "$2" >"$1"', "sh", BACKPORTS_FILE, lines.join("\n")];
  await asRoot(`adding ${codename}-backports for QEMU (${BACKPORTS_FILE})`, "sh", write, "Is /etc writable?");
  updated = false;
  try {
    await update();
  } catch (error) {
    // A source that cannot be read would break every later "apt-get update" of this machine.
    await asRoot(`removing ${BACKPORTS_FILE} again`, "rm", ["-f", BACKPORTS_FILE], "Remove it by hand.");
    throw error;
  }
}
