/**
 * Real guests that render: QEMU's virtio-gpu-gl with the exporter inside QEMU. OpenGL in the guest draws numbered pictures,
 * which the host's llvmpipe renders; decoded pictures are compared with the same ones drawn by the CPU.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { buildElement, expectPattern } from "../element/support/programs.ts";
import { countersOf, dmabufsrc, type Size, upTo } from "../support/counter.ts";
import { inspectStream } from "../support/ffmpeg.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/until.ts";
import { TestRelay } from "../virgl/relay.ts";
import { GuestRebootError } from "../vm/errors.ts";
import type { Job } from "../vm/guest-agent.ts";
import { useVm } from "../vm/use-vm.ts";
import type { Vm, VmOptions } from "../vm/vm.ts";

const HD = { width: 1280, height: 720 };
const SMALL = { width: 640, height: 480 };
/** Its rows are padded by drivers that align them. */
const ODD = { width: 1366, height: 768 };
/** Passes of the shader over LOAD_SIZE that keep two cores of a host busy for about ten seconds. */
const LOAD_PASSES = 80;
const LOAD_SIZE = { width: 2048, height: 2048 };
const LAST_ID = 400;
const GL = "--gl --allocator gbm";
/** Who draws into which buffer, and whence the host takes the picture. */
const ROWS = [
  { what: "a buffer of OpenGL's", draw: GL, element: "", tier: "resource-read" },
  { what: "a dumb buffer that the CPU draws into", draw: "--allocator dumb", element: "", tier: "resource" },
  {
    what: "another resource that the CPU draws into",
    draw: "--allocator resource",
    element: "content=pages",
    tier: "resource",
  },
  {
    what: "a dumb buffer that OpenGL draws into",
    draw: "--gl --allocator dumb",
    element: "content=rendered",
    tier: "resource-read",
  },
  {
    what: "NV12 that OpenGL draws",
    draw: `${GL} --format NV12 --planes separate`,
    element: "",
    tier: "resource-read",
  },
];

type Statistics = Readonly<Record<string, number | string>>;

class Guest {
  readonly folder = temporaryFolder();
  readonly #guest: ReturnType<typeof useVm>;

  constructor(options: VmOptions) {
    const relayConfig = join(this.folder, "relay.toml");
    writeFileSync(relayConfig, 'log.level = "trace"\n');
    // When the text console's cursor blinks, QEMU itself waits for llvmpipe to finish all draws.
    const kernelArgs = ["vt.global_cursor_default=0"];
    this.#guest = useVm({ ...options, kernelArgs, relayConfig, outDir: this.folder });
  }

  get vm(): Vm {
    return this.#guest.vm;
  }

  stream(name: string): string {
    return join(this.folder, `${name}.h264`);
  }

  counters(name: string, size: Size): (number | undefined)[] {
    return countersOf(this.stream(name), size);
  }

  statistics(name: string): Statistics {
    return JSON.parse(readFileSync(join(this.folder, `${name}.json`), "utf8")) as Statistics;
  }

  /** The command that draws and encodes. @param element properties of vsockenc */
  command(name: string, size: Size, frames: number, draw: string, element = ""): string {
    const pipeline = `vsockenc bitrate=20000 ${element} ! h264parse ! filesink location=/out/${name}.h264`;
    return dmabufsrc(size, frames, pipeline, `${draw} --stats-json /out/${name}.json`);
  }

  /** Encodes the pattern and compares every picture. */
  async encode(name: string, size: Size, frames: number, draw: string, element = ""): Promise<Statistics> {
    await this.vm.succeed(this.command(name, size, frames, draw, element));
    await expectPattern(this.stream(name), frames, size);
    return this.statistics(name);
  }

  async encodeRow({ draw, element, tier }: (typeof ROWS)[number]): Promise<void> {
    const statistics = await this.encode("row", HD, 10, `${draw} --buffers 4`, element);
    expect(statistics).toMatchObject({ tier, "frames-copied": 0, "frames-inline": 0, "pixel-bytes-sent": 0 });
  }

  /**
   * Each frame is announced right after glFlush, in the only buffer, which had another picture before its last pass. The
   * order of the exporter's source and QEMU's is tested in test/virgl: an announcement that takes QEMU's main loop to the
   * relay, as a port's does, comes after the draws whatever the order.
   */
  async encodeAtFlush(frames: number): Promise<void> {
    await this.vm.succeed(this.command("numbers", SMALL, frames, `${GL} --passes 3 --buffers 1`));
    expect(this.counters("numbers", SMALL)).toEqual(upTo(frames));
    expect(this.statistics("numbers")).toMatchObject({ tier: "resource-read", "frames-encoded": frames });
  }

  packets(): number {
    return (this.vm.relay?.log ?? "").split('"msg":"packet"').length;
  }

  /** Resolves after `count` more packets. */
  async morePackets(count: number): Promise<void> {
    const before = this.packets();
    await until(() => this.packets() >= before + count, `${count} more packets`);
  }

  /**
   * Runs `action` while a program's unfinished draws keep the host's GPU busy, and a reader waits for the picture that
   * they draw.
   */
  async behindLoad(action: (read: Promise<Buffer>) => Promise<void>): Promise<void> {
    // The sink keeps the first frame, so the program waits for its only buffer.
    const draw = `${GL} --buffers 1 --passes ${LOAD_PASSES}`;
    const load = this.vm.start(dmabufsrc(LOAD_SIZE, 2, "fakesink sync=false", draw));
    const reader = new TestRelay(this.vm.exportSocket);
    try {
      await until(() => load.stdout !== "", "the load's draws");
      await reader.next("hello");
      const { resource, generation } = await loadBuffer(reader);
      await action(reader.read(resource, generation));
    } finally {
      reader.close();
      load.signal("KILL");
      await load.done;
    }
  }
}

/** The newest buffer of the load's size: its program has a texture of that size, too. */
async function loadBuffer(reader: TestRelay) {
  for (let id = LAST_ID; id > 0; id--) {
    const answer = await reader.tryAcquire(id, "RENDERED");
    if (answer.type === "acquired" && answer.width === LOAD_SIZE.width) return answer;
  }
  throw new Error("the exporter has no buffer of the load's size");
}

beforeAll(() => buildElement("pattern"));

describe("a guest that renders", () => {
  const guest = new Guest({ gpu: "gl", mode: "1366x768" });
  const other = new Guest({
    gpu: "gles",
    exporter: "replace",
    qemuArgs: ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
  });

  it("renders on the host", async () => {
    expect(await guest.vm.succeed("dmesg")).toContain("+virgl");
  });

  it.each(ROWS)("is encoded by resource id: $what", (row) => guest.encodeRow(row));

  it("is encoded at a width that is no multiple of 16", async () => {
    expect((await guest.encode("odd", ODD, 10, GL))["tier"]).toBe("resource-read");
  });

  it("is encoded by OpenGL ES, by a library in libvirglrenderer's place, in QEMU's sandbox", async () => {
    expect((await other.encode("row", HD, 10, GL))["tier"]).toBe("resource-read");
  });

  it("is never read before it was drawn", () => guest.encodeAtFlush(300));

  it("continues its stream with a key frame when the relay was killed", async () => {
    const frames = 120;
    const job = guest.vm.start(guest.command("relay", SMALL, frames, GL, "keyframe-interval=1000"));
    await guest.morePackets(20);
    guest.vm.relay?.kill("SIGKILL");
    await guest.vm.relay?.ended();
    guest.vm.relay?.start();
    expect(await job.done).toMatchObject({ status: 0 });
    expect(guest.counters("relay", SMALL)).toEqual(upTo(frames));
    expect(inspectStream(guest.stream("relay")).keyFrames).toBe(2);
  });

  it("answers while draws are unfinished; its stream recovers, and another guest's is not disturbed", async () => {
    const stream = endless(guest, "beside");
    const undisturbed = endless(other, "other");
    await guest.morePackets(5);
    await guest.behindLoad(async (read) => {
      let finished = false;
      void read.finally(() => {
        finished = true;
      });
      const meanwhile = other.morePackets(1);
      let answers = 0;
      while (!finished) {
        await guest.vm.qmp.execute("query-status");
        answers++;
      }
      expect(answers).toBeGreaterThan(3);
      await meanwhile;
    });
    await guest.morePackets(5);
    for (const { job, of, name } of [stream, undisturbed]) {
      job.signal("INT");
      expect(await job.done).toMatchObject({ status: 0 });
      const { frames, tier } = of.statistics(name);
      expect(tier).toBe("resource-read");
      expect(of.counters(name, SMALL)).toEqual(upTo(Number(frames)));
    }
  });

  it("is stopped and continued with a read under way", async () => {
    const { job } = endless(guest, "stopped");
    await guest.morePackets(5);
    await guest.behindLoad(async (read) => {
      await guest.vm.qmp.execute("stop");
      await read;
      expect(await guest.vm.qmp.execute("query-status")).toMatchObject({ status: "paused" });
      await guest.vm.qmp.execute("cont");
    });
    await guest.morePackets(5);
    job.signal("INT");
    expect(await job.done).toMatchObject({ status: 0 });
    expect(guest.counters("stopped", SMALL)).toEqual(upTo(Number(guest.statistics("stopped")["frames"])));
  });

  it("is encoded after a reset in mid-stream", async () => {
    const { job } = endless(guest, "cut");
    const ended = expect(job.done).rejects.toThrow(GuestRebootError);
    await guest.morePackets(5);
    await guest.vm.reset();
    await ended;
    expect((await guest.encode("after", HD, 10, GL))["tier"]).toBe("resource-read");
  });
});

describe("a guest that renders by Debian 13's virglrenderer", () => {
  const guest = new Guest({ gpu: "gl", qemuOf: "trixie" });

  it.each(ROWS)("is encoded by resource id: $what", (row) => guest.encodeRow(row));

  it("is never read before it was drawn", () => guest.encodeAtFlush(300));
});

/** Draws and encodes until it is interrupted. */
function endless(of: Guest, name: string): { job: Job; of: Guest; name: string } {
  return { job: of.vm.start(of.command(name, SMALL, 60_000, `${GL} --live`, "drop=never")), of, name };
}
