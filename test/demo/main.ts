/**
 * `npm run demo`: the main use case, end to end.
 *
 * A real guest under stock QEMU draws moving pictures into DmaBufs of its virtio-gpu, by the CPU or by OpenGL, and encodes
 * them with vsockenc; the host draws the same pictures and compares. A proxy on the port counts bytes, ffmpeg counts frames and measures quality,
 * relay and guest report times.
 */

import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { errorText } from "../../common/error-text.ts";
import { buildElement, drawPattern } from "../element/support/programs.ts";
import { dmabufsrc } from "../support/counter.ts";
import { inspectStream, makeShowpieces, psnr } from "../support/ffmpeg.ts";
import { portBulk } from "../support/port-recording.ts";
import { wholeNumber } from "../support/whole-number.ts";
import { Vm } from "../vm/vm.ts";
import { type DemoFigures, renderTable, shortcomings } from "./figures.ts";

const SIZE = { width: 1280, height: 720 };
const FPS = 30;
const BITRATE_KBPS = 8000;

/** The output of dmabufsrc --stats-json: its own times, and the fields of the element's `stats`. */
interface GuestStats {
  readonly tier: string;
  readonly encoder: string;
  readonly [field: `${string}-us` | `${string}-us-p50` | `${string}-us-p95`]: number;
}

function say(line: string): void {
  console.error(`[demo] ${line}`);
}

async function encodeInGuest(folder: string, frames: number, gl: boolean) {
  const recordPort = join(folder, "port");
  mkdirSync(recordPort, { recursive: true });
  const vm = await Vm.boot({
    gpu: gl ? "gl" : "vsockenc",
    outDir: folder,
    countPort: true,
    recordPort,
    log: say,
  });
  try {
    const kernel = (await vm.run("uname -r")).stdout.trim();
    const opened = vm.portProxy?.counts();
    say(`encoding ${frames} frames of ${SIZE.width}x${SIZE.height} in the guest`);
    const content = gl ? " content=rendered" : "";
    const tail = `vsockenc name=encoder${content} bitrate=${BITRATE_KBPS} ! h264parse ! filesink location=/out/demo.h264`;
    const draw = `${gl ? "--gl --allocator gbm" : "--allocator resource"} --format BGRx --fps ${FPS} --stats-json /out/stats.json`;
    const command = dmabufsrc(SIZE, frames, tail, draw);
    const result = await vm.run(command, { onOutput: (_stream, data) => process.stderr.write(data) });
    if (result.status !== 0) throw new Error(`the guest's pipeline failed with status ${result.status}`);
    const closed = vm.portProxy?.counts();
    if (opened === undefined || closed === undefined) throw new Error("the port was not counted");
    return {
      kernel,
      qemu: vm.qemuVersion,
      accelerator: vm.accelerator,
      guestToHost: closed.guestToHost - opened.guestToHost,
      hostToGuest: closed.hostToGuest - opened.hostToGuest,
      recording: join(recordPort, "guest-to-host.bin"),
      guest: JSON.parse(readFileSync(join(folder, "stats.json"), "utf8")) as GuestStats,
    };
  } finally {
    await vm.shutdown();
  }
}

interface Options {
  readonly out: string;
  readonly json?: string;
  readonly frames: number;
  readonly gl: boolean;
}

async function demo({ out, json, frames, gl }: Options): Promise<number> {
  const folder = resolve(out);
  mkdirSync(folder, { recursive: true });
  const stream = join(folder, "demo.h264");
  rmSync(stream, { force: true });
  const run = await encodeInGuest(folder, frames, gl);

  say("decoding and comparing with the same frames drawn on this machine");
  buildElement("pattern");
  const report = inspectStream(stream);
  makeShowpieces(stream, FPS, join(folder, "demo.mp4"), join(folder, "demo.png"), Math.floor(frames / 2));
  const milliseconds = (field: keyof GuestStats): number => Number(run.guest[field]) / 1000;
  const stage = (name: string) => ({
    p50: milliseconds(`${name}-us-p50`),
    p95: milliseconds(`${name}-us-p95`),
  });
  const figures: DemoFigures = {
    framesIn: frames,
    framesOut: report.frames,
    keyFrames: report.keyFrames,
    tier: run.guest.tier,
    encoder: run.guest.encoder,
    ...SIZE,
    bytesPerFrame: { guestToHost: run.guestToHost / frames, hostToGuest: run.hostToGuest / frames },
    pixelBytesOverPort: (await portBulk(run.recording)).dataBytes,
    fps: (frames * 1000) / milliseconds("elapsed-us"),
    stagesMs: {
      "wait for the encoder": stage("queue"),
      conversion: stage("convert"),
      encode: stage("encode"),
      "guest's round trip, all included": stage("round-trip"),
    },
    drawingMs: milliseconds("drawing-us") / frames,
    psnr: await psnr(stream, drawPattern(frames, SIZE), SIZE, "bgr0"),
    machine: { qemu: run.qemu, accelerator: run.accelerator, guestKernel: run.kernel },
  };
  console.log(`\n${renderTable(figures)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(figures, undefined, 2)}\n`);
  const kilobytes = Math.round(statSync(join(folder, "demo.mp4")).size / 1024);
  console.log(`demo.mp4 (${kilobytes} KiB) and demo.png are in ${folder}`);
  const wrong = shortcomings(figures, gl ? "resource-read" : "resource");
  for (const line of wrong) console.error(`[demo] failed: ${line}`);
  return wrong.length === 0 ? 0 : 1;
}

const program = new Command("demo")
  .description("encode frames of a real guest by resource id, and show the figures")
  .option("--out <dir>", "folder for demo.mp4, demo.png and demo.h264", "out/demo")
  .option("--json <file>", "file for the figures")
  .option("--frames <n>", "frames to encode", wholeNumber(1, 65_535), 300)
  .option("--gl", "OpenGL in the guest draws, the host renders (virtio-gpu-gl under Xvfb)", false)
  .parse();

process.exitCode = await demo(program.opts<Options>()).catch((error: unknown) => {
  console.error(`[demo] ${errorText(error)}`);
  return 1;
});
