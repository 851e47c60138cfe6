/** The value below which `share` (0 … 1) of the samples lie, interpolated; NaN of nothing. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

/** Median, 95th percentile and number of samples, as a row has them. */
export const spread = (samples: readonly number[]) => ({
  measured: median(samples),
  p95: quantile(samples, 0.95),
  samples: samples.length,
});

/** A row's baseline. */
export const baselineOf = (what: string, samples: readonly number[]) => ({
  what,
  value: median(samples),
  p95: quantile(samples, 0.95),
});

/** Rise of y for each unit of x, by least squares. */
export function slope(points: readonly { readonly x: number; readonly y: number }[]): number {
  const mean = (of: (point: { x: number; y: number }) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const x = mean((point) => point.x);
  const y = mean((point) => point.y);
  return mean((point) => (point.x - x) * (point.y - y)) / mean((point) => (point.x - x) ** 2);
}
