/**
 * For tests of the real page: with `?test` in its address, `window.vsockencTest` tells what was painted and when.
 *
 * It shows what happens and changes nothing but this: after `probe(points)`, each painted picture's brightness is read
 * at those points, from the decoded VideoFrame itself (on plain HTTP from the <video>, which has no other way).
 */
import type { DropReason, Paint, Point } from "./player/unit.ts";

export interface TestHook {
  /** In the order in which they were painted. */
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
