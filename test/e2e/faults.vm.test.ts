/**
 * What must not end anything: a hostile guest beside an honest one, programs that die at any moment, ports that nobody
 * reads, a relay that is killed.
 *
 * One relay serves two guests. Forged messages are made here, with the protocol's own encoder, and written to the port
 * by root in the guest: he has nothing else to attack with.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { ExportClient } from "../../host/export/client.ts";
import { fourcc } from "../../proto/formats.ts";
import { encodeMessage, FLUSH_BYTES } from "../../proto/framing.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { OutgoingMessage } from "../../proto/messages.ts";
import { readCounters } from "../support/counter.ts";
import { decodeGray, inspectStream } from "../support/ffmpeg.ts";
import { until } from "../support/until.ts";
import type { SupervisedProcess } from "../vm/child.ts";
import { startRelay } from "../vm/host-processes.ts";
import { Vm } from "../vm/vm.ts";

const PORT = "/dev/virtio-ports/org.vsockenc.0";
const SIZE = { width: 640, height: 480 };
const XR24 = fourcc("XR24");
const KILLS = 15;

const folder = mkdtempSync(join(tmpdir(), "vsockenc-faults-"));
const at = (name: string): string => join(folder, name);
let hostile: Vm;
let honest: Vm;
let relay: SupervisedProcess;
/** All that the relay has logged. */
let log = "";
let epoch = 0x1000;

beforeAll(async () => {
  hostile = await Vm.boot({ relay: false, inDir: folder, outDir: folder, log: console.log });
  honest = await Vm.boot({ relay: false, outDir: folder });
  const section = (name: string, vm: Vm): string =>
    `[[vm]]\nname = "${name}"\nports = [${JSON.stringify(vm.portSocket)}]\nexport = ${JSON.stringify(vm.exportSocket)}\n`;
  const config = at("relay.toml");
  writeFileSync(
    config,
    `[log]\nlevel = "trace"\n[status]\nenabled = false\n${section("hostile", hostile)}${section("honest", honest)}`,
  );
  relay = startRelay(packageRoot, config, (text) => {
    log += text;
  });
  await until(() => log.split("connected to QEMU's chardev").length === 3, "the relay");
  // So that there are freed ids to name.
  expect((await hostile.run(draw(5, "before"))).status).toBe(0);
});

afterAll(async () => {
  await relay?.stop();
  await hostile?.shutdown();
  await honest?.shutdown();
  rmSync(folder, { recursive: true, force: true });
});

/** How often the relay's log has a text in lines about a guest. */
function logged(vm: "hostile" | "honest", text: string): number {
  return log.split("\n").filter((line) => line.includes(`"vm":"${vm}"`) && line.includes(text)).length;
}

const draw = (frames: number, name: string, more = ""): string =>
  `dmabufsrc --frames ${frames} --width ${SIZE.width} --height ${SIZE.height} ${more} --stats-json /out/${name}.json ` +
  `--pipeline 'vsockenc bitrate=4000 ! h264parse ! filesink location=/out/${name}.h264'`;

const counters = (name: string): (number | undefined)[] =>
  readCounters(decodeGray(at(`${name}.h264`), SIZE.width, SIZE.height), SIZE.width);

const upTo = (frames: number): number[] => Array.from({ length: frames }, (_, n) => n);

/** The bytes of a session that believes nothing and waits for nothing. */
function forge(messages: readonly OutgoingMessage[], windowBytes: number = LIMITS.HOST_WINDOW_BYTES): Buffer {
  epoch++;
  const hello = { versionMin: 1, versionMax: 1, windowBytes, software: "hostile" };
  return Buffer.concat([
    FLUSH_BYTES,
    encodeMessage({ type: "hello", body: hello }, { epoch, sequence: 0, stream: 0 }),
    ...messages.map((message, index) => encodeMessage(message, { epoch, sequence: index + 1, stream: 0 })),
  ]);
}

const configure = (serial = 1): OutgoingMessage => ({
  type: "configure",
  body: {
    serial,
    codec: 1,
    ...SIZE,
    framerateNumerator: 30,
    framerateDenominator: 1,
    bitrateKbps: 2000,
    keyframeInterval: 60,
    // The attached pictures are RGB.
    colorimetry: { primaries: 1, transfer: 13, matrix: 0, fullRange: true },
    parNumerator: 1,
    parDenominator: 1,
  },
});

const attach = (buffer: number, resource: number): OutgoingMessage => ({
  type: "attach",
  body: {
    buffer,
    ...SIZE,
    fourcc: XR24,
    modifierHigh: 0,
    modifierLow: 0,
    planes: [{ resource, offset: 0, stride: SIZE.width * 4 }],
    visible: { x: 0, y: 0, ...SIZE },
  },
});

const frame = (number: number, buffer: number): OutgoingMessage => ({
  type: "frame",
  body: {
    frame: number,
    buffer,
    configuration: 1,
    ptsNs: number * 33_333_333,
    durationNs: 33_333_333,
    forceKey: true,
  },
});

/** Root in the hostile guest writes bytes to the port, and keeps it open for a moment. */
async function attack(name: string, bytes: Uint8Array): Promise<void> {
  writeFileSync(at(name), bytes);
  const { status, stderr } = await hostile.run(
    `{ timeout 20 dd if=/in/${name} bs=32k status=none; sleep 0.5; } >${PORT}; true`,
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

/** Ids that a guest has now. */
async function idsOf(vm: Vm): Promise<number[]> {
  const client = await ExportClient.connect(vm.exportSocket, {
    onScanout: () => undefined,
    onDamage: () => undefined,
    onRevoke: (resource, generation) => client.release(resource, generation),
    onClose: () => undefined,
  });
  const ids = Array.from({ length: 200 }, (_, index) => index + 1);
  const answers = await Promise.allSettled(ids.map((id) => client.acquire(id)));
  client.close();
  return ids.filter((_, index) => answers[index]?.status === "fulfilled");
}

/** A generator that is the same at every run. */
function noise(bytes: number, seed: number): Buffer {
  let state = seed;
  return Buffer.from(
    Uint8Array.from({ length: bytes }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    }),
  );
}

describe("a hostile guest leaves another's stream alone", () => {
  /** What it is, what the relay's log must say of it, its bytes. */
  const attacks: readonly (readonly [string, string, () => Promise<Buffer>])[] = [
    ["random bytes", "", async () => noise(1 << 20, 1)],
    [
      "magics, versions and lengths that lie",
      "",
      async () => {
        const bytes = noise(1 << 18, 2);
        for (let place = 0; place + 24 < bytes.length; place += 512) {
          bytes.write("VENC\u0001", place, "latin1");
          bytes.writeUInt32LE([0, 1, 32744, 32745, 0xffffffff][(place / 512) % 5] ?? 0, place + 16);
        }
        return bytes;
      },
    ],
    [
      "sessions upon sessions",
      "session opened",
      async () => {
        const sessions = Array.from({ length: 300 }, () => forge([configure()]).subarray(FLUSH_BYTES.length));
        return Buffer.concat([FLUSH_BYTES, ...sessions]);
      },
    ],
    [
      "a message that is the host's to send",
      "rejected a session",
      async () => forge([{ type: "drained", body: { token: 1 } }]),
    ],
    [
      "ids of the other guest, freed ids, and nobody's",
      '"code":"NO_SUCH_RESOURCE"',
      async () => {
        // Linux counts ids up: what is missing among the first has been freed.
        const own = new Set(await idsOf(hostile));
        const freed = upTo(12).filter((id) => id > 0 && !own.has(id));
        expect(freed.length).toBeGreaterThan(5);
        const others = (await idsOf(honest)).filter((id) => !own.has(id));
        expect(others.length).toBeGreaterThan(0);
        const ids = [...freed, ...others, 0xffffffff, 12345].slice(0, 60);
        return forge([configure(), ...ids.map((id, buffer) => attach(buffer, id)), frame(1, 0), frame(2, 1)]);
      },
    ],
    [
      "a flood of frames that nobody configured",
      "rejected a session",
      async () =>
        forge([attach(0, (await idsOf(hostile))[0] ?? 0), ...upTo(5000).map((n) => frame(n + 1, 0))]),
    ],
    [
      "a flood of attached buffers",
      "rejected a session",
      async () => {
        const id = (await idsOf(hostile))[0] ?? 0;
        return forge(upTo(200).map((buffer) => attach(buffer % 70, id)));
      },
    ],
    [
      "more frames in flight than are allowed",
      "frames in flight",
      async () =>
        forge([
          configure(),
          attach(0, (await idsOf(hostile))[0] ?? 0),
          // Fewer than may wait for a slow Attach, which is another bound.
          ...upTo(150).map((n) => frame(n + 1, 0)),
        ]),
    ],
  ];

  it.each(attacks)("%s", async (what, trace, bytes) => {
    const name = `honest-${attacks.findIndex(([other]) => other === what)}`;
    const packets = (): number => logged("honest", '"packet"');
    const traces = logged("hostile", trace);
    const attached = logged("hostile", '"attached"');
    // As long as the attack lasts, however long that is: it ends when it is told to.
    const stream = honest.start(draw(50_000, name, "--live").replace("'vsockenc", "'vsockenc drop=never"));
    const before = packets();
    await until(() => packets() > before + 5, "the honest guest's stream");
    await attack("attack", await bytes());
    const after = packets();
    await until(() => packets() > after + 5, "the stream after the attack");
    stream.signal("INT");
    expect((await stream.done).status).toBe(0);
    const { frames } = JSON.parse(readFileSync(at(`${name}.json`), "utf8")) as { frames: number };
    expect(frames).toBeGreaterThanOrEqual(after - before);
    expect(counters(name)).toEqual(upTo(frames));
    if (what.startsWith("ids")) expect(logged("hostile", '"attached"'), "nothing was mapped").toBe(attached);
    const said = log.split("\n").filter((line) => line.includes('"vm":"hostile"'));
    if (trace !== "") expect(logged("hostile", trace), said.slice(-5).join("\n")).toBeGreaterThan(traces);
    expect([relay.alive, hostile.gpu?.alive, honest.gpu?.alive]).toEqual([true, true, true]);
  });

  it("and the hostile guest's own next stream, too", async () => {
    expect((await hostile.run(draw(30, "after"))).status).toBe(0);
    expect(counters("after")).toEqual(upTo(30));
  });
});

describe("the next opener works", () => {
  it("after a guest program was killed at any moment", async () => {
    let random = 7;
    for (let round = 0; round < KILLS; round++) {
      random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
      const delay = (50 + (random % 1200)) / 1000;
      const { status } = await hostile.run(
        `timeout -s KILL ${delay} ${draw(10_000, "victim").replace("'vsockenc", "'vsockenc drop=never")}`,
      );
      expect(status).toBe(137);
      expect((await hostile.run(draw(10, "next"))).status, `after kill ${round + 1}`).toBe(0);
      expect(counters("next"), `after kill ${round + 1}`).toEqual(upTo(10));
    }
  });

  it("after one that asked for packets and never read", async () => {
    const [id] = await idsOf(hostile);
    const frames = upTo(6).map((n) => frame(n + 1, 0));
    writeFileSync(at("mute"), forge([configure(), attach(0, id ?? 0), ...frames]));
    const opened = logged("hostile", "session opened");
    const packets = logged("hostile", '"packet"');
    const mute = hostile.start(`exec 3<>${PORT}; dd if=/in/mute bs=32k status=none >&3; exec sleep 600`);
    await until(() => logged("hostile", "session opened") > opened, "the session");
    const silent = logged("hostile", "was silent");
    await until(() => logged("hostile", '"packet"') > packets, "packets that nobody reads");
    await until(() => logged("hostile", "was silent") > silent, "the end of its session");
    mute.signal("KILL");
    await mute.done;
    expect((await hostile.run(draw(10, "next"))).status).toBe(0);
    expect(counters("next")).toEqual(upTo(10));
  });
});

describe("a live stream", () => {
  it("counts what it lost with a killed relay, and resumes with a key frame", async () => {
    const frames = 200;
    const before = logged("honest", '"packet"');
    const live = honest.start(
      draw(frames, "live", "--live").replace("bitrate=4000", "bitrate=4000 keyframe-interval=1000"),
    );
    await until(() => logged("honest", '"packet"') > before + 30, "packets before the kill");
    relay.kill("SIGKILL");
    await relay.ended();
    const cut = log.length;
    relay.start();
    const started = performance.now();
    const rest = (): string => log.slice(cut);
    await until(() => rest().includes('"msg":"packet"'), "a packet of the new relay");
    console.log(
      `from the relay's start to its first packet: ${Math.round(performance.now() - started)} ms (bound 2000)`,
    );
    expect(/"key":(true|false)[^\n]*"msg":"packet"/.exec(rest())?.[1]).toBe("true");
    expect((await live.done).status).toBe(0);
    const seen = counters("live");
    const stats = JSON.parse(readFileSync(at("live.json"), "utf8")) as Record<string, number>;
    console.log(`live: ${seen.length} of ${frames} frames; ${JSON.stringify(stats)}`);
    expect(seen).not.toContain(undefined);
    expect(seen).toEqual([...seen].sort((a, b) => (a ?? 0) - (b ?? 0)));
    expect(seen.length).toBeLessThan(frames);
    expect(seen.length).toBe(stats["frames-encoded"]);
    const dropped = Object.entries(stats).filter(([name]) => name.startsWith("dropped-"));
    expect(
      dropped.reduce((sum, [, count]) => sum + count, seen.length),
      "none is uncounted",
    ).toBe(frames);
    expect(inspectStream(at("live.h264")).keyFrames).toBe(2);
  });

  it("goes on while another guest is stopped and continued", async () => {
    const stream = honest.start(draw(120, "beside"));
    const other = hostile.start(draw(120, "stopped"));
    const before = logged("hostile", '"packet"');
    await until(() => logged("hostile", '"packet"') > before + 10, "packets before the stop");
    await hostile.qmp.execute("stop");
    expect((await stream.done).status).toBe(0);
    await hostile.qmp.execute("cont");
    expect((await other.done).status).toBe(0);
    for (const name of ["beside", "stopped"]) expect(counters(name)).toEqual(upTo(120));
  });

  it("goes on when another guest's GPU process is killed", async () => {
    const before = logged("honest", '"packet"');
    const stream = honest.start(draw(150, "apart"));
    const drawing = hostile.start(draw(10_000, "orphan"));
    await until(() => logged("honest", '"packet"') > before + 20, "packets before the kill");
    hostile.gpu?.kill("SIGKILL");
    await until(() => log.includes("the exporter has gone"), "the relay's word");
    expect((await stream.done).status).toBe(0);
    expect(counters("apart")).toEqual(upTo(150));
    expect(relay.alive).toBe(true);
    drawing.signal("KILL");
    await drawing.done;
  });
});
