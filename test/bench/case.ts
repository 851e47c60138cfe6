/** What a case of the bench is given, and what it is. */
import type { Findings } from "./report.ts";
import type { VmBench } from "./support/vm-bench.ts";

export interface CaseContext {
  /** Frames behind each median; 1,000 or more make a figure. */
  readonly frames: number;
  /** The encoder where a real one is called for. */
  readonly encoder: string;
  readonly say: (line: string) => void;
  /** The VM that the cases inside one share; booted when the first asks for it. */
  readonly vm: () => Promise<VmBench>;
}

export interface Case {
  readonly name: string;
  /** One line for --help. */
  readonly what: string;
  readonly inVm: boolean;
  /** The value of --encoder for which it runs, and no other case; absent: it runs for every encoder of ours. */
  readonly encoder?: string;
  run(context: CaseContext): Promise<Findings>;
}

/** Sizes that cases use. */
export const HD = { width: 1280, height: 720 } as const;
export const FULL_HD = { width: 1920, height: 1080 } as const;
export const UHD = { width: 3840, height: 2160 } as const;

/** Frames of one block where variants take turns: short, so that both see the same of a busy machine. */
export const BLOCK_FRAMES = 50;

/** How many blocks make `frames`. */
export const blockCount = (frames: number): number => Math.max(1, Math.ceil(frames / BLOCK_FRAMES));

/** A key frame in every block, so that blocks are alike. */
export const KEYFRAME_INTERVAL = BLOCK_FRAMES;
