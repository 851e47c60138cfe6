/** A GPU process and its sandbox: what it is refused, and that it does its work all the same. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { ExportClient } from "../../../host/export/client.ts";
import { gpuRules } from "../../../host/gpu/sandbox.ts";
import { parseSession, type SessionHead } from "../../../host/gpu/session-recording.ts";
import { closeDescriptor, os } from "../../../host/native/os-addon.ts";
import { confined, confinedEnvironment, whyUnconfined } from "../../../host/native/sandbox.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { attempts, REFUSED } from "../../support/forbidden.ts";
import { MAIN, startProgram } from "../../support/program.ts";
import { until } from "../../support/until.ts";
import { SessionPlayer } from "./session-player.ts";
import { VhostSocket } from "./vhost-socket.ts";

describe.skipIf(whyUnconfined({}) !== undefined)("a GPU process's sandbox", () => {
  const folder = temporaryFolder();
  const rules = (sockets: string) => gpuRules([join(sockets, "gpu")], undefined);

  it("refuses files, programs, sockets and other processes", async () => {
    expect(await attempts(folder, rules, "gpu")).toEqual(REFUSED);
  });

  it("leaves it its folder for sockets, until they listen, and nothing else there", async () => {
    expect(await attempts(folder, rules, "none")).toMatchObject({
      ...{ read: "EACCES", write: "EACCES", passwords: "EACCES", "file among the sockets": "EACCES" },
      ...{ "own UNIX server": "allowed", "UNIX server elsewhere": "EACCES" },
    });
  });

  it("leaves it the memory that QEMU passes, also where that is no memfd", () => {
    const path = `/dev/shm/vsockenc-test-${process.pid}`;
    const memory = openSync(path, "w+", 0o600);
    unlinkSync(path);
    const { command, args } = confined(["-e", "fs.openSync('/proc/self/fd/3', 'r')"], rules(folder));
    const { status, stderr } = spawnSync(command, args, {
      ...{ stdio: ["ignore", "ignore", "pipe", memory], encoding: "utf8", env: confinedEnvironment() },
    });
    closeSync(memory);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it("leaves it the socket that libvirt passes", async () => {
    const path = join(folder, "passed");
    const listening = os.listen(path);
    const child = spawn(process.execPath, [MAIN, "gpu", "--fd", "3"], {
      stdio: ["ignore", "ignore", "ignore", listening],
    });
    closeDescriptor(listening);
    const ended = once(child, "close");
    const qemu = new VhostSocket(path);
    expect((await qemu.ask(1)).length).toBe(8);
    expect(readFileSync(`/proc/${child.pid}/environ`, "utf8")).toContain("VSOCKENC_CONFINED=1");
    qemu.close();
    expect(await ended).toEqual([0, null]);
  });

  it("is set by the program itself, which serves QEMU and relays in it, and records", async () => {
    const [socket, exported, record] = ["gpu", "export", "record"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const text = readFileSync(join(packageRoot, "test/vectors/vhost/debian13-stop-cont.jsonl"), "utf8");
    const [head, ...entries] = parseSession(text);
    const { heads, mode } = head as SessionHead;
    const program = startProgram(
      ...["gpu", "--socket-path", socket, "--export-path", exported, "--record", record],
      ...["--heads", String(heads), "--mode", mode.join("x")],
    );
    const status = (): string => readFileSync(`/proc/${program.child.pid}/status`, "utf8");
    await until(() => status().includes("\nSeccomp:\t2\n"), "the filter of system calls");
    expect(status()).toContain("\nNoNewPrivs:\t1\n");
    expect(readFileSync(`/proc/${program.child.pid}/environ`, "utf8")).toContain("VSOCKENC_CONFINED=1");
    const player = new SessionPlayer(head as SessionHead, { path: socket, exportPath: exported });
    const { recorded, played } = await player.play(entries);
    expect(played).toEqual(recorded);
    const client = await ExportClient.connect(exported);
    await expect(client.acquire(999)).rejects.toMatchObject({ code: "RESOURCE_UNKNOWN" });
    client.close();
    await player.close();
    expect(await program.ended, program.output).toBe(0);
    expect(existsSync(socket) || existsSync(exported)).toBe(false);
    expect(parseSession(readFileSync(record, "utf8")).length).toBeGreaterThan(entries.length / 2);
    expect(statSync(record).mode & 0o777).toBe(0o600);
    expect(program.output).not.toContain("without a");
  });
});
