/** A case of the bench, its context, and what cases share. */
import type { Chart } from "./charts.ts";
import type { Row } from "./report.ts";
import type { VmBench } from "./support/vm-bench.ts";

export interface CaseContext {
  /** Frames behind each median; figures need 1,000 or more. */
  readonly frames: number;
  /** The encoder of cases that need a real one. */
  readonly encoder: string;
  /** Attacks of the cases hostile and endurance; undefined: all. */
  readonly attacks: readonly string[] | undefined;
  /** What the case faults kills; undefined: each. */
  readonly faults: readonly string[] | undefined;
  /** The cases faults and vm-port: kills of each process, and the seed of their moments. */
  readonly kills: number;
  readonly seed: number;
  /** How long the case endurance runs at least. */
  readonly minutes: number | undefined;
  /** The shared VM of cases inside one, booted at the first call. */
  readonly vm: () => Promise<VmBench>;
}

/** A row, to which the bench adds its case. */
export type Figure = Omit<Row, "name">;

export interface Findings {
  readonly rows: readonly Figure[];
  readonly charts?: readonly Chart[];
}

export interface Case {
  readonly name: string;
  /** One line for --help. */
  readonly what: string;
  readonly inVm?: true;
  /** Runs only with --minutes. */
  readonly needsMinutes?: true;
  /** The value of --encoder with which this case runs, and no other; absent: runs with every encoder of ours. */
  readonly encoder?: string;
  run(context: CaseContext): Promise<Findings>;
}

/** Sizes that cases use. */
export const HD = { width: 1280, height: 720 } as const;
export const FULL_HD = { width: 1920, height: 1080 } as const;
export const UHD = { width: 3840, height: 2160 } as const;

/** Frames of one block where variants take turns: few, so that load affects both alike. */
export const BLOCK_FRAMES = 50;

/** The number of blocks for `frames`. */
export const blockCount = (frames: number): number => Math.max(1, Math.ceil(frames / BLOCK_FRAMES));
