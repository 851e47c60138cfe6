/** The mode that a head prefers: its grammar and limits, for command line and configuration alike. */

export interface DisplayMode {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
}

/** Fields of a detailed timing in an EDID block have 12 bits. */
const MIN = 64;
const MAX = 4095;

/** Completes "mode …" in error messages and documentation. */
export const DISPLAY_MODE_RULE = `must be WIDTHxHEIGHT, each from ${MIN} to ${MAX}, e.g. 1920x1080`;

/** Reads "1920x1080"; undefined if the text breaks DISPLAY_MODE_RULE. */
export function parseDisplayMode(text: string): DisplayMode | undefined {
  const [, width, height] = /^(\d{1,4})x(\d{1,4})$/.exec(text)?.map(Number) ?? [];
  if (width === undefined || height === undefined) return undefined;
  return Math.min(width, height) >= MIN && Math.max(width, height) <= MAX ? { width, height } : undefined;
}
