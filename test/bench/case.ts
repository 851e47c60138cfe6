/** A case of the bench, and its context. */
import type { Findings } from "./report.ts";
import type { VmBench } from "./support/vm-bench.ts";

export interface CaseContext {
  /** Frames behind each median; figures need 1,000 or more. */
  readonly frames: number;
  /** The encoder of cases that need a real one. */
  readonly encoder: string;
  readonly say: (line: string) => void;
  /** The shared VM of cases inside one, booted at the first call. */
  readonly vm: () => Promise<VmBench>;
}

export interface Case {
  readonly name: string;
  /** One line for --help. */
  readonly what: string;
  readonly inVm: boolean;
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

/** A key frame in every block, so that blocks are alike. */
export const KEYFRAME_INTERVAL = BLOCK_FRAMES;
