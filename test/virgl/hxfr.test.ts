/** What Helix's element announces on a guest that renders: textures, by the exporter that runs inside QEMU. */
import { writeFileSync } from "node:fs";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { decodeGray } from "../support/ffmpeg.ts";
import { BUILD_HANG_MS } from "../support/hang.ts";
import { BGRA, HelixElement, NV12 } from "../support/helix-element.ts";
import { relayBench } from "../support/relay-bench.ts";
import { HEIGHT, WIDTH } from "../support/relay-guest.ts";
import { until } from "../support/until.ts";
import { painted } from "./picture.ts";
import { compileVirglHost, VirglHost } from "./program.ts";

/** VIRGL_FORMAT_* */
const B8G8R8A8 = 1;
const R8 = 64;

const bench = relayBench();
let programs: string;
let host: VirglHost;
let element: HelixElement;

beforeAll(() => {
  programs = compileVirglHost();
}, BUILD_HANG_MS);
beforeEach(async () => {
  const socket = bench.path("v");
  host = await VirglHost.start(programs, { loading: "preload", api: "gl", socket });
  const vm = `[[vm]]\nname = "a"\nexport = "${socket}"\n`;
  const listen = `[[listen]]\naddress = "unix:${bench.path("l")}"\nvm = "a"\nprotocol = "hxfr"`;
  await bench.start(vm + listen, { encoder: "libx264" });
  element = new HelixElement(bench.path("l"));
});
afterEach(async () => {
  element.socket.destroy();
  await host.kill();
});

/** A pixel of each decoded picture. */
function brightness(): number[] {
  const file = bench.path("stream.h264");
  writeFileSync(file, element.stream());
  return decodeGray(file, WIDTH, HEIGHT).map((frame) => frame[8 * WIDTH + 8] ?? -1);
}

/** Encodes the first frame; the relay may not have reached the exporter yet. */
const encodeFirst = (frame: Parameters<HelixElement["encode"]>[0]) =>
  until(
    () =>
      element.encode(frame).then(
        () => true,
        () => false,
      ),
    "the first frame",
  );

it("encodes a texture as it was drawn before each frame, though its id is made anew", async () => {
  const frame = { resource: 1, format: BGRA, width: WIDTH, height: HEIGHT };
  await host.commands(`texture 1 ${WIDTH} ${HEIGHT} ${B8G8R8A8}`, "paint 1 20");
  await encodeFirst(frame);
  for (const seed of [40, 60, 80]) {
    await host.command(`paint 1 ${seed}`);
    await element.encode(frame);
  }
  await host.commands("unref 1", `texture 1 ${WIDTH} ${HEIGHT} ${B8G8R8A8}`, "paint 1 100");
  await element.encode(frame);
  const found = brightness();
  expect(found).toHaveLength(5);
  for (let at = 1; at < 5; at++) expect((found[at] ?? 0) - (found[at - 1] ?? 0)).toBeGreaterThan(2);
});

it("encodes NV12 of one texture, with padded rows", async () => {
  await host.commands(`texture 1 ${WIDTH} ${HEIGHT * 1.5} ${R8}`, "paint 1 90");
  const frame = { resource: 1, format: NV12, width: WIDTH, height: HEIGHT, stride: WIDTH + 64 };
  await encodeFirst(frame);
  const luma = painted(WIDTH, HEIGHT * 1.5, R8, 90)[8 * WIDTH + 8] ?? 0;
  const [found = 0] = brightness();
  expect(Math.abs(found - Math.min(255, Math.max(0, ((luma - 16) * 255) / 219)))).toBeLessThan(12);
});
