import { readdirSync, readFileSync, symlinkSync } from "node:fs";
import { pino } from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { parseConfiguration } from "../../../host/config.ts";
import { Channel } from "../../../host/native/channel.ts";
import { closeDescriptor, os } from "../../../host/native/os-addon.ts";
import { whyUnconfined } from "../../../host/native/sandbox.ts";
import type { IsolationParts } from "../../../host/relay/relay.ts";
import { WorkerLauncher } from "../../../host/workers/launcher.ts";
import { type FromWorker, fromWorker, type ToWorker } from "../../../host/workers/messages.ts";
import { workerRules } from "../../../host/workers/sandbox.ts";
import { WorkerHost } from "../../../host/workers/worker-host.ts";
import { GuestPeer } from "../../support/guest-peer.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { HEIGHT, type RelayGuest, WIDTH } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

/** Ids of this process's workers. */
function workers(): number[] {
  return readdirSync("/proc").flatMap((name) => {
    try {
      const [, rest = ""] = readFileSync(`/proc/${name}/stat`, "utf8").split(") ");
      const [state, parent] = rest.split(" ");
      const isWorker = readFileSync(`/proc/${name}/cmdline`, "utf8").includes("worker-main.js");
      return isWorker && state !== "Z" && Number(parent) === process.pid ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

const confine = whyUnconfined(workerRules(["libx264"])) === undefined;
const log = pino({ level: "silent" });
const launcher = new WorkerLauncher({ confine, encoders: ["null"], ahead: false, log });
const isolate = (parts: IsolationParts): WorkerHost => new WorkerHost(parts, { launcher, idleMs: 0 });

describe("a worker for each VM", () => {
  const bench = relayBench();
  const port = (name: string): string => bench.path(`${name}-port`);
  const vm = (name: string): string =>
    `[[vm]]\nname = "${name}"\nchardev = "client"\nports = ["${port(name)}"]\nexport = "${bench.path(`e-${name}`)}"\n`;

  /** The exporter of all VMs, each of which has a name of its own for it. */
  const exporter = (): void => {
    bench.resource(1);
    for (const name of ["a", "b"]) symlinkSync(bench.path("e"), bench.path(`e-${name}`));
  };

  const start = async (keep = false): Promise<void> => {
    exporter();
    // One that stays, where the test is not about its end.
    const staying = (parts: IsolationParts): WorkerHost => new WorkerHost(parts, { launcher });
    await bench.start(`log.level = "error"\n${vm("a")}${vm("b")}`, { isolate: keep ? staying : isolate });
  };

  const stream = async (guest: RelayGuest): Promise<void> => {
    await guest.open();
    guest.configure(1);
    guest.attach(0, 1);
    await guest.next("attached");
  };

  const packet = async (guest: RelayGuest, frame: number) => {
    guest.frame(frame, 0);
    return (await guest.next("packet")).body;
  };

  it("starts with the first bytes of the VM's guest, and ends after its last session", async () => {
    await start();
    const guest = bench.guest(port("a"));
    await guest.next("greeting");
    expect(workers()).toEqual([]);
    // The first session has the VM's resources.
    guest.hello();
    expect((await guest.next("welcome")).body.resources).toBe(true);
    await stream(guest);
    expect((await packet(guest, 1)).key).toBe(true);
    expect(workers()).toHaveLength(1);
    guest.send({ type: "bye", body: { text: "" } });
    await until(() => workers().length === 0, "the end of the worker");
    expect(guest.closed).toBe(false);
    await stream(guest);
    expect(workers()).toHaveLength(1);
  });

  it("leaves what a guest sends to the next one, once it has offered to end", async () => {
    const { child, fd } = launcher.take();
    onTestFinished(() => void child.kill("SIGKILL"));
    const [own, theirs] = os.socketPair();
    const [quiet, other] = os.socketPair();
    onTestFinished(() => [own, theirs, quiet, other].forEach(closeDescriptor));
    const said: FromWorker[] = [];
    const worker = new Channel<FromWorker, ToWorker>(fd, fromWorker, {
      onMessage: ({ message }) => said.push(message),
      onClose: () => undefined,
    });
    const answer = (type: FromWorker["type"]): Promise<unknown> => {
      const before = said.filter((message) => message.type === type).length;
      return until(() => said.filter((message) => message.type === type).length > before, type);
    };
    const { log: logging, encoder, pictures } = parseConfiguration(`log.level = "error"\n${vm("a")}`, "test");
    const configuration = { log: logging, encoder, pictures, vm: undefined };
    worker.send({ type: "start", configuration, offers: [], viewer: false, idleMs: 0 });
    const peer = { type: "peer", descriptor: true, link: { kind: "port", index: 0 }, name: "" } as const;
    worker.send({ ...peer, id: 0 }, undefined, theirs);
    const received = Buffer.alloc(1 << 16);
    const guest = new GuestPeer((bytes) => os.send(own, bytes, 0, []));
    const receive = (): void => {
      const { bytes } = os.receive(own, received, 0, received.length) ?? { bytes: 0 };
      guest.push(received.subarray(0, bytes));
    };
    await answer("idle");
    guest.hello();
    // Time enough to have read it.
    for (let round = 0; round < 3; round++) {
      const reported = answer("metrics");
      worker.send({ type: "metrics" });
      await reported;
    }
    receive();
    expect(guest.all("welcome")).toEqual([]);
    // It does not end: another peer was on its way.
    worker.send({ ...peer, id: 1 }, undefined, other);
    await until(() => {
      receive();
      return guest.all("welcome").length > 0;
    }, "the welcome");
    worker.close();
    await until(() => child.exitCode !== null, "the end of the worker");
  });

  it("is there ahead of the first guest, and the process ahead ends with the relay", async () => {
    const ahead = new WorkerLauncher({ confine, encoders: ["null"], ahead: true, log });
    onTestFinished(() => ahead.close());
    exporter();
    const lines: string[] = [];
    await bench.start(`log.level = "error"\n${vm("a")}`, {
      log: pino({ level: "info" }, { write: (line) => lines.push(line) }),
      isolate: (parts) => new WorkerHost(parts, { launcher: ahead }),
    });
    // Those of earlier tests end in their own time.
    await until(() => workers().length === 1, "the process ahead alone");
    const [before] = workers();
    await stream(bench.guest(port("a")));
    const started = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "worker started");
    expect(started).toMatchObject([{ vm: "a", pid: before }]);
    await until(() => workers().length === 2, "the next process");
    bench.stop();
    ahead.close();
    await until(() => workers().length === 0, "the end of both");
  });

  it("costs its VM a key frame when it dies, and the others nothing", async () => {
    await start(true);
    const [victim, other] = [bench.guest(port("a")), bench.guest(port("b"))];
    await stream(victim);
    const [first] = workers();
    await stream(other);
    expect(workers()).toHaveLength(2);
    expect((await packet(victim, 1)).key).toBe(true);
    expect((await packet(other, 1)).key).toBe(true);
    const greetings = victim.all("greeting").length;
    process.kill(first ?? 0, "SIGKILL");
    // The port stays connected, and its guest is told of another relay.
    await victim.next("greeting", greetings + 1);
    for (let frame = 2; frame <= 20; frame++) expect((await packet(other, frame)).key).toBe(false);
    await stream(victim);
    expect(await packet(victim, 1)).toMatchObject({ frame: 1, key: true });
    expect(other.all("error")).toEqual([]);
    expect(workers()).not.toContain(first);
  });

  it("frees the client of a listener when it dies", async () => {
    exporter();
    const listen = `[[listen]]\naddress = "unix:${bench.path("l")}"\nvm = "a"\nmax_clients = 1\n`;
    await bench.start(`log.level = "error"\n${vm("a")}${listen}`, { isolate });
    const guest = await bench.opened();
    process.kill(workers()[0] ?? 0, "SIGKILL");
    await until(() => guest.closed, "the client's end");
    await bench.admitted(bench.path("l"));
  });

  it("serves clients without a VM, by TCP as well", async () => {
    const { freePort } = await import("../../support/free-port.ts");
    const tcp = await freePort();
    await bench.start(`log.level = "error"\n[[listen]]\naddress = "tcp:127.0.0.1:${tcp}"\n`, { isolate });
    const guest = await bench.opened(false, tcp);
    guest.configure(1);
    await guest.next("configured");
    guest.send({
      type: "attach",
      body: {
        ...{ buffer: 0, width: WIDTH, height: HEIGHT, fourcc: 0x34325258, inline: true },
        planes: [{ stride: WIDTH * 4 }],
      },
    });
    await guest.next("attached");
    await guest.inlineFrame(1, 0, Buffer.alloc(WIDTH * HEIGHT * 4));
    expect((await guest.next("packet")).body.key).toBe(true);
  });

  it("ends with the relay, and says goodbye", async () => {
    await start(true);
    const guest = bench.guest(port("a"));
    await stream(guest);
    bench.stop();
    await guest.next("bye");
    await until(() => workers().length === 0, "the end of the worker");
  });
});
