/** What a confined process can do, by trying it from inside. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { confined, confinedEnvironment, type FileRules } from "../../host/native/sandbox.ts";

/** What every confined process is refused once its system calls are filtered. */
export const REFUSED = {
  read: "EACCES",
  write: "EACCES",
  passwords: "EACCES",
  "environment of another process": "EACCES",
  "memory of another process": "EACCES",
  signal: "EPERM",
  program: "EPERM",
  "file among the sockets": "EACCES",
  status: { NoNewPrivs: "1", Seccomp: "2" },
  "own package": "allowed",
  "TCP connection": "EPERM",
  "UNIX connection": "EPERM",
  "TCP server": "EPERM",
  "own UNIX server": "EPERM",
  "UNIX server elsewhere": "EPERM",
};

/**
 * What forbidden.mjs could do.
 *
 * @param folder of the test
 * @param rules those of the process, from its folder for sockets
 * @param filter whose system calls it has; "none": all
 */
export async function attempts(
  folder: string,
  rules: (sockets: string) => FileRules,
  filter: "gpu" | "worker" | "none",
): Promise<unknown> {
  const [file, sockets] = [join(folder, "secret"), join(folder, "sockets")];
  writeFileSync(file, "secret");
  mkdirSync(sockets, { recursive: true });
  const [unix, tcp] = [createServer(), createServer()];
  unix.listen(join(folder, "socket"));
  tcp.listen(0, "127.0.0.1");
  await Promise.all([once(unix, "listening"), once(tcp, "listening")]);
  const { port } = tcp.address() as AddressInfo;
  const more = [file, join(folder, "socket"), String(port), String(process.pid), sockets, filter];
  const { command, args } = confined([join(import.meta.dirname, "forbidden.mjs"), ...more], rules(sockets));
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env: confinedEnvironment() });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  await once(child, "close");
  for (const server of [unix, tcp]) server.close();
  return JSON.parse(text);
}
