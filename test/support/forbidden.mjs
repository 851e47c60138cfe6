// Runs as a confined process does, and tries what one that a guest has taken over might try. Prints, as JSON, what was
// refused by which error, and what was not. Arguments: a file, a UNIX socket and a TCP port of the test, its process's id, the
// folder for sockets, and whose filter of system calls is set, if any.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { GPU_SYSTEM_CALLS } from "../../dist/host/gpu/sandbox.js";
import { os } from "../../dist/host/native/os-addon.js";
import { WORKER_SYSTEM_CALLS } from "../../dist/host/workers/sandbox.js";

const [file, socket, port, parent, folder, filter] = process.argv.slice(2);
const filters = { gpu: GPU_SYSTEM_CALLS, worker: WORKER_SYSTEM_CALLS };
if (filter in filters) os.allowSystemCalls(filters[filter]);

const results = {};
const attempt = (name, body) => {
  try {
    body();
    results[name] = "allowed";
  } catch (error) {
    results[name] = error.code ?? "refused";
  }
};
const outcome = (emitter, event) =>
  new Promise((resolve) => {
    emitter.once("error", (error) => resolve(error.code));
    emitter.once(event, () => resolve("allowed"));
  });

attempt("read", () => readFileSync(file));
attempt("write", () => writeFileSync(`${file}.new`, ""));
attempt("passwords", () => readFileSync("/etc/passwd"));
attempt("environment of another process", () => readFileSync(`/proc/${parent}/environ`));
attempt("memory of another process", () => readFileSync(`/proc/${parent}/mem`));
attempt("signal", () => process.kill(Number(parent), 0));
attempt("program", () => {
  const { error } = spawnSync("/bin/true");
  if (error !== undefined) throw error;
});
attempt("file among the sockets", () => writeFileSync(`${folder}/file`, ""));
results.status = Object.fromEntries(
  [...readFileSync("/proc/self/status", "utf8").matchAll(/^(NoNewPrivs|Seccomp):\t(\d)$/gm)].map(
    ([, k, v]) => [k, v],
  ),
);
results["own package"] = readFileSync(new URL(import.meta.url)).length > 0 ? "allowed" : "empty";
const tcp = connect({ port: Number(port), host: "127.0.0.1" });
results["TCP connection"] = await outcome(tcp, "connect");
const unix = connect({ path: socket });
results["UNIX connection"] = await outcome(unix, "connect");
const server = createServer();
server.listen(0, "127.0.0.1");
results["TCP server"] = await outcome(server, "listening");
for (const [name, path] of [
  ["own UNIX server", `${folder}/own`],
  ["UNIX server elsewhere", `${file}.socket`],
]) {
  const listener = createServer();
  listener.listen(path);
  results[name] = await outcome(listener, "listening");
}
process.stdout.write(JSON.stringify(results), () => process.exit(0));
