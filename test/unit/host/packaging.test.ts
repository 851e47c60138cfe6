import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { temporaryFolder } from "../../support/folder.ts";

const temporary = temporaryFolder();
const folder = join(packageRoot, "packaging");
const units = readdirSync(join(folder, "systemd"));

/** Exposure by systemd's own count, times ten: below 3.0 is what it calls OK or SAFE. */
const MAX_EXPOSURE = 30;

/** Runs systemd-analyze on a unit whose program is one that this machine has. */
function analyze(unit: string, instance: string, args: readonly string[]) {
  const file = join(temporary, unit.replace("@", `@${instance}`));
  const text = readFileSync(join(folder, "systemd", unit), "utf8");
  writeFileSync(file, text.replace(/\/usr\/bin\/vsockenc[\w-]*/, "/usr/bin/env"));
  const { status, stdout, stderr, error } = spawnSync("systemd-analyze", [...args, file], {
    encoding: "utf8",
  });
  if (error !== undefined)
    throw new Error(`systemd-analyze does not start (${error.message}): npm run setup`);
  return { status, text: stdout + stderr };
}

describe.each(units)("%s", (unit) => {
  it("is a unit that systemd understands", () => {
    const { status, text } = analyze(unit, "desk", ["verify"]);
    expect(text).not.toMatch(/desk|vsockenc/);
    expect(status).toBe(0);
  });

  it("is hardened", () => {
    const { status, text } = analyze(unit, "", ["security", "--offline=true", `--threshold=${MAX_EXPOSURE}`]);
    expect({ status, overall: text.split("\n").filter((line) => line.includes("Overall")) }).toMatchObject({
      status: 0,
      overall: [expect.stringMatching(/: \d/)],
    });
  });
});

it("user and folder of the units are ones that systemd can make", () => {
  const run = (program: string, ...args: readonly string[]): string => {
    const root = mkdtempSync(join(temporary, "root-"));
    for (const name of ["etc", "run"]) mkdirSync(join(root, name));
    const { status, stderr, stdout } = spawnSync(program, [`--root=${root}`, ...args], { encoding: "utf8" });
    expect([status, stderr + stdout]).toEqual([0, expect.any(String)]);
    return root;
  };
  const users = run("systemd-sysusers", join(folder, "sysusers.d", "vsockenc.conf"));
  const groups = readFileSync(join(users, "etc", "group"), "utf8");
  expect(groups).toMatch(/^vsockenc:x:\d+:$/m);
  for (const name of ["render", "video"])
    expect(groups).toMatch(new RegExp(`^${name}:x:\\d+:vsockenc$`, "m"));
  const text = readFileSync(join(folder, "tmpfiles.d", "vsockenc.conf"), "utf8");
  const rule = join(temporary, "tmpfiles.conf");
  // The user of this machine, which has no other.
  writeFileSync(rule, text.replace("root vsockenc", "- -"));
  const made = run("systemd-tmpfiles", "--create", rule);
  expect(statSync(join(made, "run", "vsockenc")).mode & 0o7777).toBe(0o1770);
});

describe("the udev rule", () => {
  it("gives the ports to the group that doctor names", () => {
    const rule = readFileSync(join(folder, "udev", "70-vsockenc.rules"), "utf8");
    expect(rule).toMatch(
      /^SUBSYSTEM=="virtio-ports", ATTR\{name\}=="org\.vsockenc\.\*", GROUP="video", MODE="0660"$/m,
    );
    expect(readFileSync(join(packageRoot, "cli", "doctor", "guest.ts"), "utf8")).toContain("-aG video");
  });
});
