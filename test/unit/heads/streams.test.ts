import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { vsockenc } from "../../../proto/protobuf.ts";
import type { ConnectedGuest } from "../../support/relay-guest.ts";
import { PICTURE_BYTES, XR24 } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";
import { Bench, PORT, SIZE } from "./support/bench.ts";

const { StateCode, SourceKind } = vsockenc.viewer;

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.stop());

/** A guest that has configured a stream of inline pictures. */
async function streaming(where?: string | number): Promise<ConnectedGuest> {
  const guest = await bench.guest(where, false);
  guest.send({ type: "credit", body: { grantedBytes: 1 << 28 } });
  const { width, height } = SIZE;
  guest.configure(1, { bitrateKbps: 50_000, keyframeInterval: 1000 });
  guest.send({
    type: "attach",
    body: { buffer: 0, width, height, fourcc: XR24, planes: [{ stride: width * 4 }] },
  });
  await guest.next("attached", 1);
  return guest;
}

/** Sends a frame of noise, which codes badly, and waits for its packet. */
async function encode(guest: ConnectedGuest, frame: number): Promise<void> {
  const pixels = Buffer.alloc(PICTURE_BYTES);
  for (let at = 0; at < pixels.length; at += 1) pixels[at] = (at * (frame + 7919) * 31) >> 7;
  await guest.inlineFrame(frame, 0, pixels);
  await guest.next("packet", frame + 1);
}

/** Access units as the guest got them. */
function answers(guest: ConnectedGuest): Buffer[] {
  const units = new Map<number, Uint8Array[]>();
  for (const { frame, bytes } of guest.all("data")) units.set(frame, [...(units.get(frame) ?? []), bytes]);
  return [...units.values()].map((pieces) => Buffer.concat(pieces));
}

describe("a guest's stream", () => {
  it("reaches a late viewer from a key frame on, with the guest's bytes", async () => {
    await bench.startRelay();
    const guest = await streaming();
    for (let frame = 0; frame < 4; frame += 1) await encode(guest, frame);
    const viewer = await bench.viewer();
    const source = { id: PORT, kind: SourceKind.STREAM, vm: "desk", title: "Port 0" };
    expect(viewer.all("sources").at(-1)?.sources).toEqual([
      expect.objectContaining({ ...source, input: false }),
    ]);
    viewer.watch(PORT);
    await viewer.settled();
    for (let frame = 4; frame < 8; frame += 1) await encode(guest, frame);
    await viewer.untilUnits(4);
    expect(viewer.units.map(({ key }) => key)).toEqual([true, false, false, false]);
    expect(guest.all("packet").map(({ body }) => body.key)).toEqual(
      Array.from({ length: 8 }, (_, frame) => frame === 0 || frame === 4),
    );
    expect(viewer.units.map(({ data }) => Buffer.from(data ?? []))).toEqual(answers(guest).slice(4));
    expect(viewer.units.map(({ ptsUs }) => Number(ptsUs))).toEqual(
      [4, 5, 6, 7].map((frame) => Math.round((frame * 33_333_333) / 1000)),
    );
    await until(() => viewer.all("statistics").length > 0, "statistics");
    expect(viewer.all("statistics").at(-1)).toMatchObject({ encoder: "libx264", tier: "inline" });
  });

  it("does not notice viewers that read nothing", async () => {
    await bench.startRelay();
    const guest = await streaming();
    const viewer = await bench.viewer();
    viewer.watch(PORT);
    await viewer.settled();
    await encode(guest, 0);
    viewer.socket.pause();
    for (let frame = 1; frame < 60; frame += 1) await encode(guest, frame);
    expect(guest.all("packet")).toHaveLength(60);
    expect(answers(guest).reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(4 << 20);
    expect(guest.all("error")).toEqual([]);
  });

  it("is away before its session and after it, and begins again with the next", async () => {
    await bench.startRelay();
    const viewer = await bench.viewer();
    viewer.watch(PORT);
    await until(() => viewer.state?.code === StateCode.AWAY, "no guest");
    expect(viewer.state?.text).toContain("No program in the guest");
    for (const count of [1, 2]) {
      const guest = await streaming();
      await encode(guest, 0);
      await viewer.untilUnits(count);
      expect(viewer.units.at(-1)?.key).toBe(true);
      await until(() => viewer.state?.code === StateCode.RUNNING, "a running stream");
      guest.socket.destroy();
      await until(() => viewer.state?.code === StateCode.AWAY, "the session's end");
    }
  });

  it("of a listener is there as long as its connection, each under its own id", async () => {
    const path = `${bench.folder}/l`;
    await bench.startRelay({ more: `[[listen]]\naddress = "unix:${path}"` });
    const viewer = await bench.viewer();
    const ids = (): string[] => (viewer.all("sources").at(-1)?.sources ?? []).map(({ id }) => id ?? "");
    expect(ids()).toEqual([PORT]);
    const [first, second] = [await streaming(path), await streaming(path)];
    await until(() => ids().length === 3, "both");
    expect(ids()).toEqual([PORT, "listen0.0", "listen0.1"]);
    viewer.watch("listen0.1");
    await viewer.settled();
    await encode(first, 0);
    await encode(second, 0);
    await viewer.untilUnits(1);
    expect(Buffer.from(viewer.units[0]?.data ?? [])).toEqual(answers(second)[0]);
    first.socket.destroy();
    await until(() => ids().length === 2, "one");
    expect(ids()).toEqual([PORT, "listen0.1"]);
    await streaming(path);
    await until(() => ids().includes("listen0.0"), "its successor");
  });
});
