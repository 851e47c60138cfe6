/**
 * Faults that must not end anything: a hostile guest beside an honest one, programs that are killed at any moment, ports
 * that no program reads, a relay that is killed.
 *
 * One relay serves two guests. Forged messages are encoded here and written to the port by root in the guest, which has
 * no other means of attack.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fourcc } from "../../proto/formats.ts";
import { encodeMessage, FLUSH_BYTES } from "../../proto/framing.ts";
import { HEADER_OFFSET, LIMITS } from "../../proto/limits.ts";
import type { OutgoingMessage } from "../../proto/messages.ts";
import { countersOf, dmabufsrc, upTo } from "../support/counter.ts";
import { inspectStream } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { randomNumbers } from "../support/random-numbers.ts";
import { sealHeader } from "../support/sealed.ts";
import { until } from "../support/until.ts";
import type { SupervisedProcess } from "../vm/child.ts";
import { startRelay, vmSection } from "../vm/host-processes.ts";
import { Vm } from "../vm/vm.ts";
import { Screen } from "./support/screen.ts";

const PORT = "/dev/virtio-ports/org.vsockenc.0";
const SIZE = { width: 640, height: 480 };
const XR24 = fourcc("XR24");
const KILLS = 15;

const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
let hostile: Vm;
let honest: Vm;
let relay: SupervisedProcess;
/** The relay's log. */
let log = "";
let epoch = 0x1000;

beforeAll(async () => {
  hostile = await Vm.boot({ relay: false, inDir: folder, outDir: folder, log: console.log });
  honest = await Vm.boot({ relay: false, outDir: folder });
  const sections = vmSection("hostile", hostile) + vmSection("honest", honest);
  const config = at("relay.toml");
  writeFileSync(config, `log.level = "trace"\nstatus.enabled = false\n${sections}`);
  relay = startRelay(config, (text) => {
    log += text;
  });
  await until(() => log.split("connected to QEMU's chardev").length === 3, "the relay");
  // Leaves freed ids behind.
  await hostile.succeed(draw(5, "before"));
});

afterAll(async () => {
  await relay?.stop();
  await hostile?.shutdown();
  await honest?.shutdown();
});

/** How often the relay's log has a text in lines about a guest. */
function logged(vm: "hostile" | "honest", text: string): number {
  return log.split("\n").filter((line) => line.includes(`"vm":"${vm}"`) && line.includes(text)).length;
}

/** The end of what the relay has logged about a guest. */
function lastLines(vm: "hostile" | "honest"): string {
  const lines = log.split("\n").filter((line) => line.includes(`"vm":"${vm}"`) && !line.includes('"packet"'));
  return lines.slice(-12).join("\n");
}

const packetsOf = (vm: "hostile" | "honest"): number => logged(vm, '"packet"');

/** Resolves after `count` more packets for a guest. */
function morePackets(vm: "hostile" | "honest", count: number): Promise<unknown> {
  const before = packetsOf(vm);
  return until(() => packetsOf(vm) > before + count, `more packets of the ${vm} guest`);
}

const draw = (frames: number, name: string, more = ""): string =>
  dmabufsrc(
    SIZE,
    frames,
    `vsockenc bitrate=4000 ! h264parse ! filesink location=/out/${name}.h264`,
    `${more} --stats-json /out/${name}.json`,
  );

const counters = (name: string): (number | undefined)[] => countersOf(at(`${name}.h264`), SIZE);

/** The bytes of a session that waits for no answer. */
function forge(messages: readonly OutgoingMessage[]): Buffer {
  epoch++;
  const windowBytes = LIMITS.HOST_WINDOW_BYTES;
  const hello = {
    versionMin: LIMITS.PROTOCOL_VERSION,
    versionMax: LIMITS.PROTOCOL_VERSION,
    windowBytes,
    software: "hostile",
  };
  const all: OutgoingMessage[] = [{ type: "hello", body: hello }, ...messages];
  const encoded = all.map((message, sequence) => encodeMessage(message, { epoch, sequence, stream: 0 }));
  return Buffer.concat([FLUSH_BYTES, ...encoded]);
}

const configure = (): OutgoingMessage => {
  const rate = { framerateNumerator: 30, framerateDenominator: 1, bitrateKbps: 2000, keyframeInterval: 60 };
  // The attached pictures are RGB.
  const colorimetry = { primaries: 1, transfer: 13, matrix: 0, fullRange: true };
  const body = { serial: 1, codec: 1, ...SIZE, ...rate, colorimetry, parNumerator: 1, parDenominator: 1 };
  return { type: "configure", body };
};

const attach = (buffer: number, resource: number): OutgoingMessage => {
  const planes = [{ resource, offset: 0, stride: SIZE.width * 4 }];
  const visible = { x: 0, y: 0, ...SIZE };
  return { type: "attach", body: { buffer, ...SIZE, fourcc: XR24, planes, visible } };
};

const frame = (number: number, buffer: number): OutgoingMessage => {
  const times = { ptsNs: number * 33_333_333, durationNs: 33_333_333 };
  return { type: "frame", body: { frame: number, buffer, configuration: 1, ...times, forceKey: true } };
};

/** Root in the hostile guest writes bytes to the port, and keeps it open until `seen`. */
async function attack(bytes: Uint8Array, seen: () => boolean): Promise<void> {
  writeFileSync(at("attack"), bytes);
  const write = "dd if=/in/attack bs=32k status=none >&3";
  const job = hostile.start(`exec 3<>${PORT}; ${write}; echo written; exec sleep 1000`);
  try {
    await until(
      () => job.stdout !== "" && seen(),
      () => `the attack in the relay's log (${job.stdout.trim() || "not written"}):\n${lastLines("hostile")}`,
    );
    expect(job.stdout).toBe("written\n");
  } finally {
    job.signal("KILL");
    await job.done;
  }
}

/** Ids that a guest has now. */
async function idsOf(vm: Vm): Promise<number[]> {
  const screen = await Screen.connect(vm.exportSocket);
  return await screen.ids().finally(() => screen.close());
}

const anyId = async (): Promise<number> => (await idsOf(hostile))[0] ?? 0;

function noise(bytes: number, seed: number): Buffer {
  const random = randomNumbers(seed);
  return Buffer.from(Uint8Array.from({ length: bytes }, () => Math.floor(random() * 256)));
}

describe("a hostile guest does not disturb another's stream", () => {
  /** A title, a text that must appear in the relay's log, the bytes. */
  const attacks: readonly (readonly [string, string, () => Promise<Buffer>])[] = [
    ["random bytes", "", async () => noise(1 << 20, 1)],
    [
      "false magics, versions and lengths",
      "",
      async () => {
        const bytes = noise(1 << 18, 2);
        for (let at = 0; at + 24 < bytes.length; at += 512) {
          const header = bytes.subarray(at, at + LIMITS.HEADER_BYTES);
          header.writeUInt32LE(LIMITS.MAGIC, HEADER_OFFSET.magic);
          header[HEADER_OFFSET.version] = LIMITS.PROTOCOL_VERSION;
          header.writeUInt16LE([0, 1, 32744, 32745, 0xffff][(at / 512) % 5] ?? 0, HEADER_OFFSET.length);
          if ((at / 512) % 2 === 0) sealHeader(header);
        }
        return bytes;
      },
    ],
    [
      "hundreds of sessions",
      "session opened",
      async () => {
        const sessions = Array.from({ length: 300 }, () => forge([configure()]).subarray(FLUSH_BYTES.length));
        return Buffer.concat([FLUSH_BYTES, ...sessions]);
      },
    ],
    [
      "a message that only the host may send",
      "rejected a session",
      async () => forge([{ type: "drained", body: { token: 1 } }]),
    ],
    [
      "ids of the other guest, freed ids, and ids that never existed",
      '"code":"NO_SUCH_RESOURCE"',
      async () => {
        // Linux counts ids up: missing ones among the first were freed.
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
      // A relay that keeps up with it answers each with an error; one that does not ends the session.
      "a flood of frames without a configuration",
      '"code":',
      async () => forge([attach(0, await anyId()), ...upTo(5000).map((n) => frame(n + 1, 0))]),
    ],
    [
      "a flood of attached buffers",
      "rejected a session",
      async () => {
        const id = await anyId();
        return forge(upTo(200).map((buffer) => attach(buffer % 70, id)));
      },
    ],
    [
      "more frames in flight than are allowed",
      "frames in flight",
      async () =>
        forge([
          configure(),
          attach(0, await anyId()),
          // Below the number that may wait for a slow Attach, which is another limit.
          ...upTo(150).map((n) => frame(n + 1, 0)),
        ]),
    ],
  ];

  it.each(attacks)("%s", async (what, trace, bytes) => {
    const name = `honest-${attacks.findIndex(([other]) => other === what)}`;
    const traces = logged("hostile", trace);
    const attached = logged("hostile", '"attached"');
    // Longer than any attack; it is interrupted.
    const stream = honest.start(draw(50_000, name, "--live").replace("'vsockenc", "'vsockenc drop=never"));
    const before = packetsOf("honest");
    let after = before;
    try {
      await morePackets("honest", 5);
      await attack(await bytes(), () => trace === "" || logged("hostile", trace) > traces);
      after = packetsOf("honest");
      await morePackets("honest", 5);
    } finally {
      stream.signal("INT");
    }
    expect((await stream.done).status).toBe(0);
    const { frames } = JSON.parse(readFileSync(at(`${name}.json`), "utf8")) as { frames: number };
    expect(frames).toBeGreaterThanOrEqual(after - before);
    expect(counters(name)).toEqual(upTo(frames));
    if (what.startsWith("ids")) expect(logged("hostile", '"attached"'), "nothing was mapped").toBe(attached);
    expect([relay.alive, hostile.gpu?.alive, honest.gpu?.alive]).toEqual([true, true, true]);
    // Nor the hostile guest's next one, which also reads what the attacker has left unread.
    await hostile.succeed(draw(10, "after"));
    expect(counters("after")).toEqual(upTo(10));
  });
});

describe("the next program can use the port", () => {
  it("after programs were killed at random moments", async () => {
    const random = randomNumbers(7);
    for (let round = 0; round < KILLS; round++) {
      const delay = (50 + random() * 1200) / 1000;
      const { status } = await hostile.run(
        `timeout -s KILL ${delay} ${draw(10_000, "victim").replace("'vsockenc", "'vsockenc drop=never")}`,
      );
      expect(status).toBe(137);
      expect((await hostile.run(draw(10, "next"))).status, `after kill ${round + 1}`).toBe(0);
      expect(counters("next"), `after kill ${round + 1}`).toEqual(upTo(10));
    }
  });

  it("after a program that never read its packets", async () => {
    const frames = upTo(6).map((n) => frame(n + 1, 0));
    writeFileSync(at("mute"), forge([configure(), attach(0, await anyId()), ...frames]));
    const opened = logged("hostile", "session opened");
    const packets = packetsOf("hostile");
    const mute = hostile.start(`exec 3<>${PORT}; dd if=/in/mute bs=32k status=none >&3; exec sleep 600`);
    await until(() => logged("hostile", "session opened") > opened, "the session");
    const silent = logged("hostile", "was silent");
    await until(() => packetsOf("hostile") > packets, "unread packets");
    await until(() => logged("hostile", "was silent") > silent, "the end of its session");
    mute.signal("KILL");
    await mute.done;
    await hostile.succeed(draw(10, "next"));
    expect(counters("next")).toEqual(upTo(10));
  });
});

describe("a live stream", () => {
  it("counts the frames lost with a killed relay, and resumes with a key frame", async () => {
    const frames = 200;
    const live = honest.start(
      draw(frames, "live", "--live").replace("bitrate=4000", "bitrate=4000 keyframe-interval=1000"),
    );
    await morePackets("honest", 30);
    relay.kill("SIGKILL");
    await relay.ended();
    const cut = log.length;
    relay.start();
    const rest = (): string => log.slice(cut);
    await until(() => rest().includes('"msg":"packet"'), "a packet of the new relay");
    expect(/"key":(true|false)[^\n]*"msg":"packet"/.exec(rest())?.[1]).toBe("true");
    expect((await live.done).status).toBe(0);
    const seen = counters("live");
    const stats = JSON.parse(readFileSync(at("live.json"), "utf8")) as Record<string, number>;
    expect(seen).not.toContain(undefined);
    expect(seen).toEqual([...seen].sort((a, b) => (a ?? 0) - (b ?? 0)));
    expect(seen.length).toBeLessThan(frames);
    expect(seen.length).toBe(stats["frames-encoded"]);
    const dropped = Object.entries(stats).filter(([name]) => name.startsWith("dropped-"));
    const counted = dropped.reduce((sum, [, count]) => sum + count, seen.length);
    expect(counted, "all are counted").toBe(frames);
    expect(inspectStream(at("live.h264")).keyFrames).toBe(2);
  });

  it("continues while another guest is stopped", async () => {
    const stream = honest.start(draw(120, "beside"));
    const other = hostile.start(draw(120, "stopped"));
    await morePackets("hostile", 10);
    await hostile.qmp.execute("stop");
    expect((await stream.done).status).toBe(0);
    await hostile.qmp.execute("cont");
    expect((await other.done).status).toBe(0);
    for (const name of ["beside", "stopped"]) expect(counters(name)).toEqual(upTo(120));
  });

  it("continues when another guest's GPU process is killed", async () => {
    const stream = honest.start(draw(150, "apart"));
    const drawing = hostile.start(draw(10_000, "orphan"));
    await morePackets("honest", 20);
    hostile.gpu?.kill("SIGKILL");
    await until(() => log.includes("the exporter has gone"), "the relay's log message");
    expect((await stream.done).status).toBe(0);
    expect(counters("apart")).toEqual(upTo(150));
    expect(relay.alive).toBe(true);
    drawing.signal("KILL");
    await drawing.done;
  });
});
