import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Check, type ProgramResult, run } from "../../../cli/doctor/check.ts";
import { checkGl, type GlHost } from "../../../cli/doctor/gl.ts";
import { temporaryFolder } from "../../support/folder.ts";

const folder = temporaryFolder();
const library = join(folder, "libvsockenc-virgl.so");
const nodes = join(folder, "dev", "dri");

/** What the host's programs print, by command line. */
interface Programs {
  readonly [command: string]: string;
}

const DEVICES = 'name "virtio-gpu-gl-pci", bus PCI, alias "virtio-gpu-gl"\n';
const DISPLAYS = "Available display backend types:\nnone\nsdl\negl-headless\n";
const WORKING: Programs = {
  "qemu -device help": DEVICES,
  "qemu -display help": DISPLAYS,
  "dpkg-query -W libvirglrenderer1": "libvirglrenderer1:amd64\t1.1.0-2\n",
};

/** QEMU and the package managers are played; the dynamic linker is this machine's. */
function host(programs: Programs): GlHost {
  const play = (program: string, args: readonly string[], env?: Readonly<Record<string, string>>) => {
    if (env !== undefined) return run(program, args, env);
    const output = programs[[program, ...args].join(" ")];
    const missing: ProgramResult = { kind: "missing" };
    return output === undefined ? missing : { kind: "ended" as const, status: 0, output, errors: "" };
  };
  return { root: folder, qemu: "qemu", library, run: play };
}

function check(name: string, programs: Programs = WORKING): Check {
  const found = checkGl(host(programs), true).find((each) => each.name === name);
  if (found === undefined) throw new Error(`no check ${name}`);
  return found;
}

const without = (command: string): Programs =>
  Object.fromEntries(Object.entries(WORKING).filter(([each]) => each !== command));

describe("doctor on a host whose guests render", () => {
  it("wants QEMU's device, and names the package that has it", () => {
    expect(check("QEMU's virtio-gpu-gl")).toMatchObject({ status: "ok" });
    expect(check("QEMU's virtio-gpu-gl", { ...WORKING, "qemu -device help": "" })).toMatchObject({
      status: "failure",
      fix: expect.stringContaining("qemu-system-modules-opengl"),
    });
  });

  it("reports virglrenderer's version from whichever package manager knows it", () => {
    expect(check("virglrenderer")).toMatchObject({ status: "ok", detail: "1.1.0" });
    const unknown = without("dpkg-query -W libvirglrenderer1");
    expect(check("virglrenderer", unknown)).toMatchObject({ status: "warning" });
    const old = { ...unknown, "pkg-config --modversion virglrenderer": "0.10.4\n" };
    expect(check("virglrenderer", old)).toMatchObject({
      status: "ok",
      detail: expect.stringMatching(/Venus/),
    });
    const older = { ...unknown, "rpm -q --qf %{VERSION} virglrenderer": "0.9.1" };
    expect(check("virglrenderer", older)).toMatchObject({ status: "failure" });
  });

  it("wants a render node, and says that -display none will not do", () => {
    rmSync(nodes, { recursive: true, force: true });
    expect(check("display with GL")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("-display none does not work"),
      fix: expect.stringContaining("-display sdl,gl=on"),
    });
    mkdirSync(nodes, { recursive: true });
    writeFileSync(join(nodes, "card0"), "");
    expect(check("display with GL").status).toBe("warning");
    writeFileSync(join(nodes, "renderD129"), "");
    expect(check("display with GL")).toMatchObject({
      status: "ok",
      detail: `egl-headless on ${join(nodes, "renderD129")}`,
    });
    expect(check("display with GL", { ...WORKING, "qemu -display help": "none\nsdl\n" })).toMatchObject({
      status: "warning",
      fix: expect.stringContaining("qemu-system-modules-opengl"),
    });
    expect(check("display with GL", { ...WORKING, "qemu -display help": "none\n" })).toMatchObject({
      status: "failure",
      detail: expect.stringContaining("-display none does not work"),
    });
  });

  it("wants the library, and that the dynamic linker loads it", () => {
    rmSync(library, { force: true });
    expect(check("libvsockenc-virgl")).toMatchObject({
      status: "failure",
      fix: expect.stringContaining("npm run build"),
    });
    writeFileSync(library, "not a library");
    expect(check("libvsockenc-virgl")).toMatchObject({
      status: "failure",
      detail: expect.stringContaining("cannot be preloaded"),
    });
    const { status, stderr } = spawnSync("cc", ["-shared", "-x", "c", "-o", library, "/dev/null"]);
    expect({ status, stderr: stderr.toString() }).toEqual({ status: 0, stderr: "" });
    expect(check("libvsockenc-virgl")).toMatchObject({ status: "ok" });
  });

  it("only warns where no VM needs any of it", () => {
    const bare = checkGl(host({}), false);
    expect(bare.map(({ status }) => status)).not.toContain("failure");
    for (const { status, fix } of bare) expect(fix === undefined).toBe(status === "ok");
    expect(checkGl(host({}), true).map(({ status }) => status)).toContain("failure");
  });

  it("reports render nodes that the user may not open", () => {
    rmSync(nodes, { recursive: true, force: true });
    mkdirSync(nodes, { recursive: true });
    // Not even root can open it.
    symlinkSync("nothing", join(nodes, "renderD128"));
    expect(check("display with GL")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("renderD128"),
      fix: expect.stringContaining("-aG render"),
    });
  });
});
