import type { Logger } from "pino";
import { GPU_LIMITS } from "./limits.ts";

/** Warnings that a guest can cause at will: a few in each period are logged, the others are counted. */
export class GuestWarnings {
  readonly #log: Logger;
  #periodStart = Number.NEGATIVE_INFINITY;
  #inPeriod = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  warn(fields: Readonly<Record<string, unknown>>, text: string): void {
    const now = performance.now();
    if (now - this.#periodStart >= GPU_LIMITS.WARNING_PERIOD_MS) {
      const suppressed = this.#inPeriod - GPU_LIMITS.WARNINGS;
      if (suppressed > 0) this.#log.warn({ suppressed }, "suppressed more warnings about the guest");
      this.#periodStart = now;
      this.#inPeriod = 0;
    }
    this.#inPeriod++;
    if (this.#inPeriod <= GPU_LIMITS.WARNINGS) this.#log.warn(fields, text);
  }
}
