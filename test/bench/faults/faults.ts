/** Processes that are killed, and how soon the next right picture is there. */
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readSync, writeFileSync } from "node:fs";
import {
  encoding,
  NumberedStream,
  RATE,
  type Received,
  SIZE,
} from "../../element/support/numbered-stream.ts";
import { programPath } from "../../element/support/programs.ts";
import { countersOf } from "../../support/counter.ts";
import { freePort } from "../../support/free-port.ts";
import { MessageReader } from "../../support/message-reader.ts";
import { until } from "../../support/until.ts";
import { attach, create, FrontEnd } from "../../unit/gpu/front-end.ts";
import { TestViewer } from "../../unit/viewer/support/test-viewer.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import { BenchGuest } from "../support/guest.ts";
import { type Holdings, leftovers, settled } from "./leftovers.ts";
import { FaultRig, program } from "./rig.ts";

/** The moments of kills lie so long behind the picture that followed the last one. */
const PAUSE_MS = { least: 200, most: 1200 };
/** The share of kills after which memory is counted: the first compile and allocate. */
const WARM_SHARE = 0.1;
/** A worker that has run for so long is replaced without a growing pause. */
const GOOD_MS = 10_200;
const STREAMS = 4;
/** Guest address of the picture, in the memory of front-end.ts, and its bytes. */
const PICTURE_ADDRESS = 0x20_0000;
const PICTURE_BYTES = SIZE.width * SIZE.height * 4;
const VIEWER = new URL("viewer.ts", import.meta.url).pathname;

export interface Options {
  readonly encoder: string;
  readonly kills: number;
  /** Between 0 and 1, from the bench's seed. */
  readonly random: () => number;
}

export interface Outcome {
  /** From each kill to the next right picture, in ms. */
  readonly times: readonly number[];
  /** Of streams that had to lose nothing; absent if the killed process had the frames. */
  readonly lost?: number;
  /** Pictures that were not what they had to be, or no key frame where one was due. */
  readonly wrong: number;
  readonly left: Holdings;
  /** Private memory of the relay before, in bytes. */
  readonly memory: number;
}

export interface Fault {
  readonly name: string;
  readonly what: string;
  run(options: Options): Promise<Outcome>;
}

/** Kills at random moments. @param once kills, and returns after how many ms each stream had its picture */
async function kill(
  rig: FaultRig,
  { kills, random }: Options,
  once: (kill: number) => Promise<number | readonly number[]>,
) {
  const times: number[] = [];
  let before: Holdings | undefined;
  for (let count = 0; count < kills; count += 1) {
    if (count === Math.floor(kills * WARM_SHARE)) before = await settled(rig.pid);
    const { least, most } = PAUSE_MS;
    await new Promise((resolve) => setTimeout(resolve, least + random() * (most - least)));
    times.push(...[await once(count)].flat());
  }
  return { times, before: before ?? (await settled(rig.pid)) };
}

/** Ends streams, and counts what they lack. */
async function endAll(rig: FaultRig, streams: readonly NumberedStream[]): Promise<Received[]> {
  const all: Received[] = [];
  for (const stream of streams) all.push(await stream.end(rig.at(`stream${all.length}.h264`)));
  return all;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

/** Kills something of streams that must not lose a frame. */
async function lossless(
  options: Options,
  once: (rig: FaultRig, streams: readonly NumberedStream[]) => Promise<number | readonly number[]>,
): Promise<Outcome> {
  return await FaultRig.with(options.encoder, STREAMS, async (rig) => {
    const streams = rig.ports.map((port) => new NumberedStream(port));
    for (const stream of streams) await stream.keyFrame(0);
    const { times, before } = await kill(rig, options, () => once(rig, streams));
    const left = await leftovers(rig.pid, before);
    const received = await endAll(rig, streams);
    return {
      ...{ times, left, memory: before.memory },
      lost: sum(received.map(({ lost }) => lost)),
      wrong: sum(received.map(({ wrong }) => wrong)),
    };
  });
}

/** The worker of one VM after the other; the others' streams go on. */
const worker: Fault = {
  name: "worker",
  what: "a VM's worker",
  run: (options) => {
    /** When each VM's worker was there. */
    const born = Array.from({ length: STREAMS }, () => Number.NEGATIVE_INFINITY);
    let turn = 0;
    return lossless(options, async (rig, streams) => {
      const vm = turn++ % STREAMS;
      const stream = streams[vm];
      const young = (): number => (born[vm] ?? 0) + GOOD_MS - performance.now();
      if (young() > 0) await new Promise((resolve) => setTimeout(resolve, young()));
      if (stream === undefined) throw new Error("unreachable");
      const others = streams.filter((each) => each !== stream).map(({ keyFrames }) => keyFrames.length);
      const keys = stream.keyFrames.length;
      const killed = performance.now();
      process.kill(rig.worker(`vm${vm}`), "SIGKILL");
      const shown = await stream.keyFrame(keys);
      born[vm] = performance.now();
      const disturbed = streams
        .filter((each) => each !== stream)
        .some(({ keyFrames }, index) => keyFrames.length !== others[index]);
      if (disturbed) throw new Error(`the end of vm${vm}'s worker has disturbed another VM's stream`);
      return shown - killed;
    });
  },
};

/** The relay with all workers. */
const relay: Fault = {
  name: "relay",
  what: `the relay of ${STREAMS} VMs, started again at once`,
  run: (options) =>
    lossless(options, async (rig, streams) => {
      const keys = streams.map(({ keyFrames }) => keyFrames.length);
      const killed = performance.now();
      rig.relay.kill("SIGKILL");
      await rig.relay.ended();
      rig.relay.start();
      const shown = await Promise.all(streams.map((stream, index) => stream.keyFrame(keys[index])));
      return shown.map((moment) => moment - killed);
    }),
};

/** The program in the guest that has the element; its frames are lost with it. */
const element: Fault = {
  name: "element",
  what: "the process with the element, started again at once",
  run: (options) =>
    FaultRig.with(options.encoder, 1, async (rig) => {
      const [port = ""] = rig.ports;
      let stream = new NumberedStream(port);
      await stream.keyFrame(0);
      const all: Received[] = [];
      const { times, before } = await kill(rig, options, async () => {
        const victim = stream;
        const killed = performance.now();
        victim.kill();
        stream = new NumberedStream(port);
        const shown = await stream.keyFrame(0);
        all.push(victim.check(rig.at("victim.h264")));
        return shown - killed;
      });
      const left = await leftovers(rig.pid, before);
      all.push(...(await endAll(rig, [stream])));
      const wrong = sum(all.map(({ wrong: pictures, lost }) => pictures + lost));
      return { times, left, wrong, memory: before.memory };
    }),
};

/** Draws picture `number` into a file. */
function drawInto(file: string, frames: number): void {
  const { width, height } = SIZE;
  const drawing = `--frames ${frames} --width ${width} --height ${height} --format BGRx`.split(" ");
  const output = openSync(file, "w");
  const { status } = spawnSync(programPath("pattern"), drawing, { stdio: ["ignore", output, "inherit"] });
  closeSync(output);
  if (status !== 0) throw new Error(`pattern ended with status ${status}`);
}

/** The number in the picture of an access unit. */
function numberIn(unit: Uint8Array, file: string): number | undefined {
  writeFileSync(file, unit);
  const numbers = countersOf(file, SIZE);
  return numbers.length === 1 ? numbers[0] : undefined;
}

/** The access unit in what a relay has answered. */
function unitOf(answer: Buffer): Buffer {
  const messages = new MessageReader().push(answer);
  return Buffer.concat(
    messages.flatMap((event) =>
      event.kind === "message" && event.message.type === "data" ? [event.message.bytes] : [],
    ),
  );
}

/** The GPU process, whose end is the VM's: QEMU cannot connect to another. So the machine starts again, too. */
const gpu: Fault = {
  name: "gpu",
  what: "the GPU process; it, the VM's driver and its guest start again",
  run: (options) =>
    FaultRig.with(options.encoder, 1, async (rig) => {
      const { socket, export: exportPath, port } = rig.gpu;
      const process = program("gpu", "--socket-path", socket, "--export-path", exportPath);
      const guest = new BenchGuest(port);
      const pictures = drawnPictures(rig, options.kills + 1);
      let front: FrontEnd | undefined;
      let wrong = 0;
      /** As a machine that starts, whose first picture has this number. */
      const boot = async (number: number): Promise<number> => {
        process.start();
        const machine = await until(() => connected(socket), "the GPU process");
        front = machine;
        await machine.negotiate();
        await machine.startDevice();
        await machine.answer(create(1, SIZE.width, SIZE.height));
        await machine.answer(attach(1, [[PICTURE_ADDRESS, PICTURE_BYTES]]));
        machine.write(PICTURE_ADDRESS, pictures(number));
        await guest.open(SIZE, [1]);
        const answered = new Promise<boolean>((resolve) => {
          guest.onAnswered = ({ key }) => resolve(key);
        });
        guest.sendFrame();
        const key = await answered;
        const shown = performance.now();
        const unit = unitOf(guest.lastExchange().answer);
        if (!key || numberIn(unit, rig.at("unit.h264")) !== number) wrong += 1;
        return shown;
      };
      try {
        await boot(0);
        const { times, before } = await kill(rig, options, async (count) => {
          const killed = performance.now();
          process.kill("SIGKILL");
          await process.ended();
          await front?.close();
          return (await boot(count + 1)) - killed;
        });
        const left = await leftovers(rig.pid, before);
        return { times, left, wrong, memory: before.memory };
      } finally {
        guest.close();
        await process.stop();
        await front?.close();
      }
    }),
};

/** A front end of the GPU process that listens at `socket` by now. */
function connected(socket: string): FrontEnd | undefined {
  try {
    return existsSync(socket) ? FrontEnd.connect(socket) : undefined;
  } catch {
    // The socket is that of the one before.
    return undefined;
  }
}

/** Pictures by their number, below `count`. */
function drawnPictures(rig: FaultRig, count: number): (number: number) => Buffer {
  const file = rig.at("pictures");
  drawInto(file, count);
  const input = openSync(file, "r");
  return (number) => {
    const picture = Buffer.alloc(PICTURE_BYTES);
    readSync(input, picture, 0, PICTURE_BYTES, number * PICTURE_BYTES);
    return picture;
  };
}

/** A viewer; what counts is its successor's first picture. */
const viewer: Fault = {
  name: "viewer",
  what: "a viewer's process, started again at once",
  run: (options) =>
    FaultRig.with(options.encoder, 1, async (rig) => {
      const stream = new NumberedStream(rig.ports[0] ?? "");
      await stream.keyFrame(0);
      const args = ["--import", "tsx", VIEWER, rig.viewer, "vm0/port0"];
      let wrong = 0;
      let watching: SupervisedProcess | undefined;
      const watch = async (): Promise<number> => {
        const started = new SupervisedProcess("viewer", [process.execPath, ...args]);
        watching = started;
        started.start();
        await until(() => !started.alive || /^unit .*\n/m.test(started.log), "a picture");
        if (!started.alive) await started.failure();
        const shown = performance.now();
        const [, key, data = ""] = /^unit (\w+) (\S+)$/m.exec(started.log) ?? [];
        const number = numberIn(Buffer.from(data, "base64"), rig.at("unit.h264"));
        if (key !== "true" || number === undefined) wrong += 1;
        return shown;
      };
      try {
        await watch();
        const { times, before } = await kill(rig, options, async () => {
          const killed = performance.now();
          watching?.kill("SIGKILL");
          await watching?.ended();
          return (await watch()) - killed;
        });
        const left = await leftovers(rig.pid, before);
        const [received] = await endAll(rig, [stream]);
        const lost = received?.lost ?? 0;
        return { times, left, lost, wrong: wrong + (received?.wrong ?? 0), memory: before.memory };
      } finally {
        await watching?.stop();
        stream.kill();
      }
    }),
};

/** The bridge, for a viewer that stays and connects again. */
const bridge: Fault = {
  name: "bridge",
  what: "the bridge, started again at once",
  run: (options) =>
    FaultRig.with(options.encoder, 1, async (rig) => {
      const port = await freePort();
      const token = "fault-bench-token-2";
      const pictures = rig.at("pictures");
      drawInto(pictures, RATE * 4);
      const source = `filesrc location=${pictures}`;
      const pipeline = `${encoding(source, rig.listener)} ! appsink name=videosink sync=false`;
      const config = rig.at("bridge.toml");
      writeFileSync(
        config,
        `status.enabled = false\nviewer = { port = ${port}, token = "${token}" }\npipeline = ${JSON.stringify(pipeline)}\n`,
      );
      const process = program("bridge", "--config", config);
      const address = `http://127.0.0.1:${port}/?token=${token}`;
      let wrong = 0;
      let watching: TestViewer | undefined;
      const watch = async (): Promise<number> => {
        process.start();
        const viewer = await until(
          () => TestViewer.connect(address).catch(() => undefined),
          `the bridge: ${process.log}`,
        );
        watching = viewer;
        viewer.watch("screen");
        const unit = await until(() => viewer.units[0], "a picture");
        const shown = performance.now();
        if (!unit.key || numberIn(unit.data, rig.at("unit.h264")) === undefined) wrong += 1;
        return shown;
      };
      try {
        await watch();
        const { times, before } = await kill(rig, options, async () => {
          const killed = performance.now();
          process.kill("SIGKILL");
          await process.ended();
          watching?.socket.terminate();
          return (await watch()) - killed;
        });
        const left = await leftovers(rig.pid, before);
        return { times, left, wrong, memory: before.memory };
      } finally {
        watching?.socket.terminate();
        await process.stop();
      }
    }),
};

export const FAULTS: readonly Fault[] = [worker, relay, gpu, element, viewer, bridge];
