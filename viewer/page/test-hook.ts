/**
 * For tests of the real page: with `?test` in its address, `window.vsockencTest` records paints and drops.
 *
 * It changes nothing else, except that after `probe(points)` the brightness at these points is read from every painted
 * picture: from the decoded VideoFrame, or over plain HTTP from the <video>.
 */
import type { DropReason, Paint, Point } from "./player/unit.ts";

export interface TestHook {
  /** In the order of painting. */
  readonly paints: Paint[];
  readonly drops: { readonly reason: DropReason; readonly count: number }[];
  probe(points: readonly Point[]): void;
}

declare global {
  interface Window {
    vsockencTest?: TestHook;
  }
}

/** Undefined without `?test`. */
export function installTestHook(probe: TestHook["probe"]): TestHook | undefined {
  if (!new URLSearchParams(location.search).has("test")) return undefined;
  const hook: TestHook = { paints: [], drops: [], probe };
  window.vsockencTest = hook;
  return hook;
}
