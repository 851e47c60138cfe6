import type { Logger } from "pino";

/**
 * Bounds of what one guest can make this process do and keep. They are far beyond what a desktop needs; a guest that
 * exceeds one gets the error of the virtio specification.
 */
export const GPU_LIMITS = {
  /**
   * Time of a ring in one iteration of the event loop; a command that has begun is finished. QEMU waits for replies with
   * the whole VM stopped, so its messages must not wait for a guest's commands.
   */
  RING_TURN_MS: 4,
  /** Resources at one time. */
  RESOURCES: 16384,
  /** Width or height of a resource, in pixels. */
  DIMENSION: 16384,
  /**
   * Entries of one ATTACH_BACKING. Linux sends one for each run of pages: these are its largest framebuffer, 8192 x 8192
   * pixels, with not two pages adjacent. Desktops have exceeded the 16384 that QEMU's own devices accept.
   */
  BACKING_ENTRIES: 65536,
  /**
   * Runs of guest memory of all resources together. A run costs this process memory (its bytes are the guest's own): all
   * of them 25 MB, and 80 MB when a relay has asked for them.
   */
  TOTAL_EXTENTS: 1 << 20,
  /** Guest memory of all resources together; reached only by a guest that attaches its memory many times over. */
  TOTAL_BACKING_BYTES: 2 ** 40,
  /** Guest-caused warnings in the log, for each WARNING_PERIOD_MS. */
  WARNINGS: 20,
  WARNING_PERIOD_MS: 10_000,
} as const;

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
