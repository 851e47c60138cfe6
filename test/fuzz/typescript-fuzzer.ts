/**
 * A fuzzer for TypeScript, led by coverage.
 *
 * V8 counts which blocks run (precise coverage of the inspector, taken from within the process). Taking the counts costs
 * far more than most inputs do, so inputs run in batches. A batch that reached new code is run again by halves, and so on,
 * to find the inputs that are worth keeping. Batches grow while nothing new is found.
 *
 * All is decided by the seed: the same seed, runs and corpus give the same inputs.
 */
import { Session } from "node:inspector/promises";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../../common/package-root.ts";
import { randomNumbers } from "../support/random-numbers.ts";
import { Watchdog } from "./watchdog.ts";

/** Runs one input; what it throws is a finding. */
export type Property = (input: Buffer) => void;

export interface TypescriptTarget {
  /** Files whose coverage leads the search and is reported, from the package's root. */
  readonly files: readonly string[];
  seeds(): Buffer[];
  /** Made once a run, so that it may prepare what inputs share. */
  property(): Property;
}

export interface FuzzReport {
  readonly runs: number;
  readonly seconds: number;
  /** Inputs that each reach something which those before do not: a small corpus. */
  readonly corpus: readonly Buffer[];
  /** Bytes of code (types stripped) that ran, and of the functions that ran, over all files. */
  readonly coverage: { readonly ran: number; readonly of: number };
}

/** An input broke the property. */
export class Finding extends Error {
  override readonly name = "Finding";
  readonly input: Buffer;

  constructor(input: Buffer, cause: unknown) {
    super(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause), { cause });
    this.input = input;
  }
}

const LEAST_BATCH = 32;
const MOST_BATCH = 4096;
const MAX_INPUT_BYTES = 4096;

class Random {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = randomNumbers(seed);
  }

  /** 0 ≤ number < limit */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item;
  }
}

/** Where lengths, sizes and ids go wrong. */
const NUMBERS = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 24, 31, 63, 64, 127, 128, 255, 256, 4095, 4096, 16384, 16385, 32767, 65535,
  65536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
];

/** One small change. */
function changed(input: Buffer, corpus: readonly Buffer[], random: Random): Buffer {
  const at = random.below(input.length + 1);
  const length = 1 + random.below(1 << random.below(8));
  const other = random.pick(corpus);
  const from = random.below(other.length + 1);
  switch (random.below(7)) {
    case 0: {
      const copy = Buffer.from(input);
      if (at < copy.length) copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
      return copy;
    }
    case 1: {
      const copy = Buffer.from(input);
      if (at < copy.length) copy[at] = random.below(256);
      return copy;
    }
    case 2: {
      const bytes = 1 << random.below(4);
      if (at + bytes > input.length) return input;
      const copy = Buffer.from(input);
      const number = BigInt(random.pick(NUMBERS));
      for (let i = 0; i < bytes; i++) copy[at + i] = Number((number >> BigInt(8 * i)) & 255n);
      return copy;
    }
    case 3:
      return Buffer.concat([input.subarray(0, at), input.subarray(at + length)]);
    case 4:
      return Buffer.concat([input.subarray(0, at), other.subarray(from, from + length), input.subarray(at)]);
    case 5:
      return Buffer.concat([
        input.subarray(0, at),
        other.subarray(from, from + length),
        input.subarray(at + length),
      ]);
    default:
      return Buffer.concat([input.subarray(0, at), other.subarray(from)]);
  }
}

function mutated(corpus: readonly Buffer[], random: Random): Buffer {
  let input = random.pick(corpus);
  for (let changes = 1 + random.below(4); changes > 0; changes -= 1) input = changed(input, corpus, random);
  return input.length > MAX_INPUT_BYTES ? input.subarray(0, MAX_INPUT_BYTES) : input;
}

/** Which bytes of the files' code have run. */
class Coverage {
  readonly #session = new Session();
  readonly #files: ReadonlyMap<string, string>;
  /** By file; a byte is 1 if it lies in a function that has run, 2 if it has run itself. */
  readonly #seen = new Map<string, Uint8Array>();

  constructor(files: readonly string[]) {
    this.#files = new Map(files.map((file) => [pathToFileURL(`${packageRoot}/${file}`).href, file]));
  }

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post("Profiler.enable");
    await this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  async stop(): Promise<void> {
    await this.#session.post("Profiler.stopPreciseCoverage");
    this.#session.disconnect();
  }

  /** Takes what ran since the last time. @returns whether any of it is new. @param keep notes it as seen */
  async take(keep: boolean): Promise<boolean> {
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    let isNew = false;
    for (const { url, functions } of result) {
      const file = this.#files.get(url);
      if (file === undefined) continue;
      for (const { ranges } of functions) {
        const whole = ranges[0];
        if (whole === undefined || whole.count === 0) continue;
        const seen = this.#room(file, whole.endOffset);
        const ran = new Uint8Array(whole.endOffset - whole.startOffset);
        // Outer ranges come first, and inner ones say where the count is another.
        for (const { startOffset, endOffset, count } of ranges) {
          ran.fill(count > 0 ? 2 : 1, startOffset - whole.startOffset, endOffset - whole.startOffset);
        }
        for (let i = 0; i < ran.length; i++) {
          const now = ran[i] ?? 0;
          if (now <= (seen[whole.startOffset + i] ?? 0)) continue;
          isNew ||= now === 2;
          if (keep) seen[whole.startOffset + i] = now;
        }
      }
    }
    return isNew;
  }

  #room(file: string, bytes: number): Uint8Array {
    const seen = this.#seen.get(file);
    if (seen !== undefined && seen.length >= bytes) return seen;
    const larger = new Uint8Array(2 * bytes);
    if (seen !== undefined) larger.set(seen);
    this.#seen.set(file, larger);
    return larger;
  }

  /** Bytes of code that ran, and of the functions that ran. */
  get total(): { ran: number; of: number } {
    let [ran, of] = [0, 0];
    for (const seen of this.#seen.values()) {
      for (const byte of seen) {
        ran += Number(byte === 2);
        of += Number(byte > 0);
      }
    }
    return { ran, of };
  }
}

export interface FuzzLimits {
  /** One of both, or the first that is reached. */
  readonly runs?: number | undefined;
  readonly seconds?: number | undefined;
  /** The same seed gives the same inputs, if only `runs` ends them. */
  readonly seed: number;
  /** The file gets an input that has not ended after so many seconds, and the process is killed. Absent: neither. */
  readonly hang?: { readonly file: string; readonly seconds: number };
  /** Called after every batch with the inputs so far and the size of the corpus. */
  progress?(runs: number, corpus: number): void;
}

/** What the property throws once more, with its stack; undefined if it does not. */
function withStack(property: Property, input: Buffer, limit: number): unknown {
  Error.stackTraceLimit = limit;
  try {
    property(input);
    return undefined;
  } catch (error) {
    return error;
  }
}

/** @throws Finding */
export async function fuzzTypescript(
  target: TypescriptTarget,
  kept: readonly Buffer[],
  {
    runs: most = Number.POSITIVE_INFINITY,
    seconds = Number.POSITIVE_INFINITY,
    seed,
    hang,
    progress,
  }: FuzzLimits,
): Promise<FuzzReport> {
  const property = target.property();
  const watchdog = hang === undefined ? undefined : new Watchdog(hang.file, MAX_INPUT_BYTES, hang.seconds);
  const run = (input: Buffer): void => {
    watchdog?.begins(input);
    try {
      property(input);
    } catch (error) {
      throw new Finding(input, withStack(property, input, stackTraceLimit) ?? error);
    } finally {
      watchdog?.ends();
    }
  };
  // Most inputs are rejected with an error, whose stack would take half of the time.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const coverage = new Coverage(target.files);
  const begin = performance.now();
  const elapsed = (): number => (performance.now() - begin) / 1000;
  const random = new Random(seed);
  const corpus: Buffer[] = [];
  let runs = 0;
  /** Runs inputs, and keeps those that each reach what none before them did. @returns whether there are any */
  const keepNew = async (inputs: readonly Buffer[]): Promise<boolean> => {
    inputs.forEach(run);
    const single = inputs.length === 1;
    if (!(await coverage.take(single))) return false;
    if (single) corpus.push(...inputs);
    else {
      const half = inputs.length >> 1;
      await keepNew(inputs.slice(0, half));
      await keepNew(inputs.slice(half));
    }
    return true;
  };
  await coverage.start();
  try {
    const first = [...target.seeds(), ...kept];
    await keepNew(first);
    runs += first.length;
    if (corpus.length === 0) corpus.push(...first.slice(0, 1));
    for (let size = LEAST_BATCH; runs < most && elapsed() < seconds; ) {
      const batch = Array.from({ length: Math.min(size, most - runs) }, () => mutated(corpus, random));
      const found = await keepNew(batch);
      runs += batch.length;
      size = found ? LEAST_BATCH : Math.min(2 * size, MOST_BATCH);
      progress?.(runs, corpus.length);
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    await coverage.stop();
    await watchdog?.close();
  }
  return { runs, seconds: elapsed(), corpus, coverage: coverage.total };
}
