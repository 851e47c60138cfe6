import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { confined, confinedEnvironment, whyUnconfined } from "../../../host/workers/sandbox.ts";
import { temporaryFolder } from "../../support/folder.ts";

describe.skipIf(whyUnconfined(["libx264"]) !== undefined)("a worker's sandbox", () => {
  const folder = temporaryFolder();

  /** What forbidden.mjs could do. */
  async function attempts(filtered: boolean): Promise<unknown> {
    const file = join(folder, "secret");
    writeFileSync(file, "secret");
    const [unix, tcp] = [createServer(), createServer()];
    unix.listen(join(folder, "socket"));
    tcp.listen(0, "127.0.0.1");
    await Promise.all([once(unix, "listening"), once(tcp, "listening")]);
    const { port } = tcp.address() as AddressInfo;
    const more = [
      file,
      join(folder, "socket"),
      String(port),
      String(process.pid),
      filtered ? "filtered" : "",
    ];
    const { command, args } = confined([join(import.meta.dirname, "forbidden.mjs"), ...more], ["libx264"]);
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env: confinedEnvironment() });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
    });
    await once(child, "close");
    for (const server of [unix, tcp]) server.close();
    return JSON.parse(text);
  }

  it("refuses files, programs, sockets and other processes", async () => {
    expect(await attempts(true)).toEqual({
      read: "EACCES",
      write: "EACCES",
      passwords: "EACCES",
      "environment of another process": "EACCES",
      "memory of another process": "EACCES",
      signal: "EPERM",
      program: "EPERM",
      "own package": "allowed",
      "TCP connection": "EPERM",
      "UNIX connection": "EPERM",
      "TCP server": "EPERM",
    });
  });

  it("has a part that holds from the process's start", async () => {
    expect(await attempts(false)).toMatchObject({ read: "EACCES", write: "EACCES", passwords: "EACCES" });
  });
});
