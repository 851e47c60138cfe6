/** What a host runs out of while a stream goes on: descriptors, and room on the disk with the log. And its clock jumps. */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { processTree } from "../../support/process-tree.ts";
import { MAIN, startProgram } from "../../support/program.ts";
import { relayBench } from "../../support/relay-bench.ts";
import type { ConnectedGuest } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const bench = relayBench();

/** Writes the configuration of a relay that listens for guests of a VM with an exporter. @returns its path */
function configuration(isolation: string): string {
  const file = bench.path("relay.toml");
  writeFileSync(
    file,
    `encoder.order = ["libx264"]
    isolation = "${isolation}"
    status.enabled = false
    vm = [{ name = "a", export = "${bench.path("e")}" }]
    listen = [{ address = "unix:${bench.path("l")}", vm = "a", max_clients = 64 }]`,
  );
  return file;
}

/** The worker that serves the VM, which has more descriptors than one that waits. */
function workerOf(relay: number): number {
  const workers = processTree(relay).filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("worker-main"),
  );
  const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
  return workers.sort((a, b) => descriptors(b) - descriptors(a))[0] ?? 0;
}

/** Encodes this many frames, each when the one before has been answered. */
async function encode(guest: ConnectedGuest, from: number, to: number): Promise<void> {
  for (let frame = from; frame < to; frame++) {
    guest.frame(frame, 0);
    await guest.next("packet", frame);
  }
}

describe.each(["vm", "none"])("with isolation = %s", (isolation) => {
  it("a stream does not need room for the log", async () => {
    bench.exporter;
    const full = openSync("/dev/full", "w");
    const relay = spawn(process.execPath, [MAIN, "relay", "--config", configuration(isolation)], {
      stdio: ["ignore", full, full],
    });
    onTestFinished(() => void relay.kill("SIGKILL"));
    const ended = new Promise((resolve) => relay.once("exit", resolve));
    closeSync(full);
    await bench.admitted(bench.path("l"));
    const stream = await bench.streaming();
    await encode(stream, 1, 10);
    relay.kill();
    expect(await ended).toBe(0);
  });
});

/** Starts a relay with a stream, and then connects more clients than a process may have descriptors. */
async function exhaust(isolation: string, serving: (relay: number) => number) {
  bench.exporter;
  const relay = startProgram("relay", "--config", configuration(isolation));
  await until(() => relay.output.includes('"msg":"listening"'), "the relay");
  const stream = await bench.streaming();
  await encode(stream, 1, 4);
  const pid = serving(relay.child.pid ?? 0);
  const few = readdirSync(`/proc/${pid}/fd`).length + 6;
  expect(spawnSync("prlimit", ["--pid", String(pid), `--nofile=${few}:`]).status).toBe(0);
  const clients = Array.from({ length: 30 }, () => bench.guest());
  return { relay, stream, clients };
}

/** Clients are served again when the others have left, and the relay ends in order. */
async function recover({ relay, clients }: Awaited<ReturnType<typeof exhaust>>): Promise<void> {
  for (const client of clients) client.socket.destroy();
  await bench.admitted(bench.path("l"));
  relay.child.kill();
  expect(await relay.ended).toBe(0);
}

describe("without a descriptor left", () => {
  it("a relay that encodes itself serves the streams that it has", async () => {
    const scene = await exhaust("none", (relay) => relay);
    await until(() => scene.relay.output.includes("cannot accept"), "a line about it");
    await encode(scene.stream, 4, 34);
    expect(scene.stream.all("packet").filter(({ body }) => body.key)).toHaveLength(1);
    await recover(scene);
  });

  it("a worker ends and names the reason, and the next one serves its VM", async () => {
    const scene = await exhaust("vm", workerOf);
    await until(() => scene.relay.output.includes("ulimit -n"), "the reason");
    await recover(scene);
  });
});

it("nothing depends on the time of day, which may jump, but a certificate's dates", () => {
  const clocks =
    /Date\.now|new Date\b|CLOCK_REALTIME|gettimeofday\(|g_get_real_time|system_clock|\btime\(NULL\)/;
  const files = ["common", "proto", "viewer", "guest", "host", "cli"].flatMap((top) =>
    readdirSync(join(packageRoot, top), { recursive: true, encoding: "utf8" }).map((name) => join(top, name)),
  );
  const sources = files.filter((file) => /\.(ts|cjs|c|h|cc)$/.test(file) && !file.split("/").includes("gen"));
  const users = sources.filter((file) => clocks.test(readFileSync(join(packageRoot, file), "utf8")));
  expect(users).toEqual(["viewer/server/http/certificate.ts"]);
});
