/**
 * A lossless pipeline with the element: numbered pictures (test/guest/pattern.h) at a rate, of which each must arrive, in
 * order, whatever is killed meanwhile. It asks for no key frames, so each marks the beginning of a stream.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { countersOf, type Size } from "../../support/counter.ts";
import { HANG_MS } from "../../support/hang.ts";
import { within } from "../../vm/wait.ts";
import { GST_ENVIRONMENT, programPath } from "./programs.ts";

/** The smallest with a counter, nearly. */
export const SIZE: Size = { width: 512, height: 288 };
export const RATE = 30;
/** More than any run has; counters are modulo 65,536. */
const FRAMES = 60_000;
/** A sequence parameter set, which is ahead of each key frame and nowhere else. */
const PARAMETER_SET = { prefix: Buffer.from([0, 0, 1]), type: 7 };

const alive = ["--pdeathsig", "KILL", "--"];

/** Picture `number` and those before it, as BGRx. */
export function drawPictures(frames: number): ChildProcess {
  const { width, height } = SIZE;
  const drawing = `--frames ${frames} --width ${width} --height ${height} --format BGRx`.split(" ");
  return spawn("setpriv", [...alive, programPath("pattern"), ...drawing], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** Elements that take pictures of `drawPictures`, at their rate, and encode them through a socket of the relay. */
export function encoding(source: string, socketPath: string): string {
  const { width, height } = SIZE;
  const parse = `rawvideoparse format=bgrx width=${width} height=${height} framerate=${RATE}/1`;
  const encoder = `vsockenc socket-path=${socketPath} drop=never keyframe-interval=1000000 bitrate=2000`;
  return `${source} ! ${parse} ! clocksync ! ${encoder} ! video/x-h264,stream-format=byte-stream,alignment=au`;
}

export interface Received {
  readonly frames: number;
  /** Numbers that are missing between the first and the last. */
  readonly lost: number;
  /** Pictures whose number is unreadable, or not behind the one before. */
  readonly wrong: number;
  readonly keyFrames: number;
}

export class NumberedStream {
  readonly #pictures: ChildProcess;
  readonly #pipeline: ChildProcess;
  readonly #pieces: Buffer[] = [];
  readonly #keyFrames: number[] = [];
  #log = "";
  #tail: Buffer = Buffer.alloc(0);
  #onKeyFrame = (): void => {};

  /** @param socketPath of a port or listener of the relay */
  constructor(socketPath: string) {
    this.#pictures = drawPictures(FRAMES);
    const elements = `${encoding("fdsrc", socketPath)} ! fdsink fd=3 sync=false`.split(" ");
    this.#pipeline = spawn("setpriv", [...alive, "gst-launch-1.0", ...elements], {
      stdio: [this.#pictures.stdout, "pipe", "pipe", "pipe"],
      env: { ...process.env, ...GST_ENVIRONMENT },
    });
    // The pipeline alone reads it, and its end is the program's.
    this.#pictures.stdout?.destroy();
    for (const output of [this.#pipeline.stdout, this.#pipeline.stderr]) {
      output?.on("data", (text: Buffer) => {
        this.#log = (this.#log + text.toString()).slice(-4000);
      });
    }
    (this.#pipeline.stdio[3] as Readable).on("data", (piece: Buffer) => this.#receive(piece));
  }

  /** Beginnings of the stream so far: when their key frames arrived. */
  get keyFrames(): readonly number[] {
    return this.#keyFrames;
  }

  /** When the next key frame arrives, or one that has arrived beyond the first `count`. */
  async keyFrame(count = this.#keyFrames.length): Promise<number> {
    const arrived = new Promise<void>((resolve) => {
      this.#onKeyFrame = () => {
        if (this.#keyFrames.length > count) resolve();
      };
      this.#onKeyFrame();
    });
    const late = () => new Error(`no key frame for ${HANG_MS} ms: ${this.#log}`);
    await within(arrived, HANG_MS, late);
    return this.#keyFrames[count] ?? Number.NaN;
  }

  /** What the pipeline has said, its end at least. */
  get log(): string {
    return this.#log;
  }

  /** Stops the pipeline, or has it continue. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#pipeline.kill(signal);
  }

  kill(): void {
    this.#pipeline.kill("SIGKILL");
    this.#pictures.kill("SIGKILL");
  }

  /** Ends the stream after the pictures that are under way. @param file for what was received */
  async end(file: string): Promise<Received> {
    const ended = once(this.#pipeline, "close");
    this.#pictures.kill("SIGKILL");
    await within(ended, HANG_MS, () => new Error(`the pipeline does not end: ${this.#log}`));
    return this.check(file);
  }

  /** Decodes what was received. */
  check(file: string): Received {
    writeFileSync(file, Buffer.concat(this.#pieces));
    const counters = countersOf(file, SIZE);
    let [lost, wrong, next] = [0, 0, 0];
    for (const counter of counters) {
      if (counter === undefined || counter < next) wrong += 1;
      else {
        lost += counter - next;
        next = counter + 1;
      }
    }
    return { frames: counters.length, lost, wrong, keyFrames: this.#keyFrames.length };
  }

  #receive(piece: Buffer): void {
    const now = performance.now();
    this.#pieces.push(piece);
    const bytes = Buffer.concat([this.#tail, piece]);
    const { prefix, type } = PARAMETER_SET;
    for (let at = bytes.indexOf(prefix); at >= 0; at = bytes.indexOf(prefix, at + 1)) {
      // One whose type is still to come is found with the next piece.
      if (((bytes[at + prefix.length] ?? 0) & 0x1f) === type) this.#keyFrames.push(now);
    }
    this.#tail = bytes.subarray(-prefix.length);
    this.#onKeyFrame();
  }
}
