/** Pictures of the guest's desktops (test/vm/guest/desktop). */
import { spawnSync } from "node:child_process";
import { expect } from "vitest";
import { upTo } from "../../support/counter.ts";

export const SIZE = { width: 1280, height: 720 };
export const MODE = `${SIZE.width}x${SIZE.height}`;
export const FRAME_BYTES = SIZE.width * SIZE.height * 4;
/**
 * That a compositor draws into in turn: by the time the host reads what virtgpusrc has seen on the screen, the compositor
 * may have drawn the next picture but one there.
 */
export const BUFFERS = 2;
/** The desktops' background as blue, green, red, and pixels most of which show it: weston places windows anywhere. */
const BACKGROUND = [0x6e, 0x4b, 0x2a] as const;
const EDGES = [100, SIZE.height / 2, SIZE.height - 10].flatMap((y) => [
  y * SIZE.width + 10,
  y * SIZE.width + SIZE.width - 10,
]);
/** Whether most of the edges show the background, but for what an encoder changes. */
export function isDesktop(pixels: Buffer | undefined): boolean {
  const background = EDGES.filter((pixel) =>
    BACKGROUND.every((value, at) => Math.abs((pixels?.[pixel * 4 + at] ?? 0) - value) < 12),
  );
  return background.length > EDGES.length / 2;
}

/** Decoded frames as BGRx. */
export function decode(file: string): Buffer[] {
  const args = ["-v", "error", "-i", file, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "bgr0"];
  const { stdout, status, stderr } = spawnSync("ffmpeg", [...args, "-"], { maxBuffer: 1 << 30 });
  expect(status, stderr?.toString()).toBe(0);
  return upTo(Math.floor(stdout.length / FRAME_BYTES)).map((n) =>
    stdout.subarray(n * FRAME_BYTES, (n + 1) * FRAME_BYTES),
  );
}
