/** A relay whose configuration changes while it serves. */
import { existsSync, writeFileSync } from "node:fs";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { SocketError } from "../../../host/native/listener.ts";
import type { IsolationParts } from "../../../host/relay/relay.ts";
import { WorkerLauncher } from "../../../host/workers/launcher.ts";
import { WorkerHost } from "../../../host/workers/worker-host.ts";
import { relayBench } from "../../support/relay-bench.ts";
import type { ConnectedGuest } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const log = pino({ level: "silent" });
const launcher = new WorkerLauncher({ confine: false, encoders: ["null"], ahead: false, log });
const isolate = (parts: IsolationParts): WorkerHost => new WorkerHost(parts, { launcher });

const bench = relayBench();
const port = (name: string): string => bench.path(`${name}-port`);
const vm = (name: string, more = ""): string =>
  `[[vm]]\nname = "${name}"\nchardev = "client"\nports = ["${port(name)}"]\nexport = "${bench.path(`${name}-e`)}"\n${more}`;
const listen = (name: string, more = ""): string =>
  `[[listen]]\naddress = "unix:${bench.path(name)}"\n${more}`;
/** The VM whose stream is watched; its exporter is the bench's. */
const KEPT = (): string => vm("kept").replace("kept-e", "e");
const LOG = 'log.level = "error"\n';

async function stream(guest: ConnectedGuest): Promise<void> {
  await guest.open();
  guest.configure(1);
  guest.attach(0, 1);
  await guest.next("attached");
}

describe("a change of the configuration", () => {
  it("costs a stream of a VM that stays no frame, over 50 of them", async () => {
    bench.resource(1);
    await bench.start(`${LOG}${KEPT()}`, { isolate });
    const guest = bench.guest(port("kept"));
    await stream(guest);
    const sessions = guest.all("welcome").length;
    let frames = 0;
    let stopped = false;
    const streaming = (async () => {
      while (!stopped) {
        guest.frame(++frames, 0);
        await guest.next("packet", frames);
      }
    })();
    const changes = [
      () => `${KEPT()}${vm("b")}`,
      () => `${vm("b")}${KEPT()}${listen("l")}`,
      () => `${KEPT()}${listen("m")}${listen("l", 'vm = "b"\n')}${vm("b", "view.rate = 10\n")}`,
      () => KEPT(),
      () => KEPT(),
    ];
    for (let change = 0; change < 50; change++) {
      const before = frames;
      await bench.apply(`${LOG}${changes[change % changes.length]?.()}`);
      await until(() => frames > before, "a frame after the change");
    }
    stopped = true;
    await streaming;
    const packets = guest.all("packet");
    expect(packets.map(({ body }) => body.frame)).toEqual(Array.from({ length: frames }, (_, n) => n + 1));
    expect(packets.filter(({ body }) => body.key)).toHaveLength(1);
    expect(guest.all("error")).toEqual([]);
    expect(guest.all("welcome")).toHaveLength(sessions);
  });

  it("opens what is new, and leaves nothing of what is gone", async () => {
    await bench.start(`${LOG}${vm("a")}${listen("l")}`, { isolate });
    const [gone, client] = [bench.guest(port("a")), await bench.opened(false)];
    await gone.open(false);
    expect(await bench.apply(`${LOG}${vm("b")}`)).toEqual({
      closed: ["vm a", `listen unix:${bench.path("l")}`],
      opened: ["vm b"],
      later: [],
    });
    await until(() => gone.closed && client.closed, "the end of both");
    expect(gone.all("bye")).toHaveLength(1);
    expect([port("a"), bench.path("l"), port("b")].map(existsSync)).toEqual([false, false, true]);
    await bench.guest(port("b")).open(false);
  });

  it("says which tables count at the next start", async () => {
    await bench.start(`${LOG}${vm("a")}`, { isolate });
    const applied = await bench.apply(`log.level = "warn"\n${vm("a")}[limits]\nworker_mib = 128\n`);
    expect(applied).toEqual({ closed: [], opened: [], later: ["log", "limits"] });
  });

  it("that cannot be made changes nothing", async () => {
    await bench.start(`${LOG}${vm("a")}${vm("b")}`, { isolate });
    const [guest, stays] = [bench.guest(port("a")), bench.guest(port("b"))];
    await guest.open(false);
    await stays.open(false);
    writeFileSync(bench.path("file"), "no socket");
    const change = bench.apply(
      `${LOG}${vm("a", "view.rate = 10\n")}${vm("b")}${listen("l")}${listen("file")}`,
    );
    await expect(change).rejects.toThrow(SocketError);
    expect(existsSync(bench.path("l"))).toBe(false);
    // The changed VM is served again as before, and the other one was not touched.
    await bench.guest(port("a")).open(false);
    expect(stays.closed).toBe(false);
    expect(await bench.apply(`${LOG}${vm("a")}${vm("b")}`)).toEqual({ closed: [], opened: [], later: [] });
  });

  it("needs a restart where VMs share what was divided at the start", async () => {
    await bench.start(`${LOG}isolation = "none"\n${vm("a")}`);
    await expect(bench.apply(`${LOG}isolation = "none"\n${vm("b")}`)).rejects.toThrow("restart the relay");
    await bench.guest(port("a")).open(false);
  });
});
