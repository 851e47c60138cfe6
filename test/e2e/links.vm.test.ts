/** The arguments of `vsockenc qemu-args` in a real QEMU (without a guest): both sides connect. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { freePort } from "../support/free-port.ts";
import { pageText } from "../support/page-text.ts";
import { MAIN } from "../support/program.ts";
import { until } from "../support/until.ts";

describe.each(["server", "client"] as const)("QEMU as the chardevs' %s", (chardev) => {
  const folder = temporaryFolder();
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children.reverse()) {
      child.kill("SIGTERM");
      await until(() => child.exitCode !== null || child.signalCode !== null, "the end of a process");
    }
    children.length = 0;
  });

  const start = (program: string, args: readonly string[]): { text: () => string } => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    const add = (chunk: Buffer) => {
      text += chunk.toString();
    };
    child.stdout.on("data", add);
    child.stderr.on("data", add);
    children.push(child);
    return { text: () => text };
  };

  it("has its GPU and four ports connected, also after a restart", async () => {
    const port = await freePort();
    const ports = [0, 1, 2, 3].map((n) => `"${folder}/p${n}"`).join(", ");
    const config = join(folder, "host.toml");
    writeFileSync(
      config,
      `status.port = ${port}
[[vm]]
name = "desk"
chardev = "${chardev}"
ports = [${ports}]
export = "${folder}/e"
gpu = { socket = "${folder}/g" }`,
    );
    const printed = spawnSync(process.execPath, [MAIN, "qemu-args", "--config", config, "--memory", "128"], {
      encoding: "utf8",
    });
    const host = start(process.execPath, [MAIN, "host", "--config", config]);
    const connected = async (): Promise<boolean> => {
      try {
        const metrics = await pageText(`http://127.0.0.1:${port}/metrics`);
        const links = metrics.match(/^vsockenc_link_connections\{.*\} 1$/gm) ?? [];
        return links.length === 4 && metrics.includes('vsockenc_exporter_up{vm="desk"} 1');
      } catch {
        return false;
      }
    };
    for (let run = 0; run < 2; run++) {
      await until(() => host.text().split("waiting for QEMU").length === run + 2, "the GPU process");
      const qemu = start("qemu-system-x86_64", [
        ...["-nodefaults", "-no-user-config", "-S", "-accel", "tcg", "-machine", "q35"],
        ...printed.stdout.trim().split(" "),
      ]);
      await until(connected, `four links; QEMU printed: ${qemu.text()}`);
      expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
      const doctor = spawnSync(process.execPath, [MAIN, "doctor", "--config", config, "--json"], {
        encoding: "utf8",
      });
      const { checks } = JSON.parse(doctor.stdout) as { checks: { name: string; status: string }[] };
      expect(checks.filter(({ name, status }) => name.startsWith("desk") && status !== "ok")).toEqual([]);
      const child = children.pop();
      child?.kill("SIGTERM");
      await until(() => child?.exitCode !== null || child?.signalCode !== null, "the end of QEMU");
      await until(async () => !(await connected()), "its links to be noticed gone");
    }
  });
});
