import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { until } from "../../support/until.ts";
import { advanceClock, servers, type Watched } from "./support/test-server.ts";
import { smallStream, TestSource } from "./support/test-source.ts";

/** Units with filler data (H.264 7.3.2.7), large enough to fill the kernel's buffers quickly. */
const UNIT_BYTES = 500_000;
const JAM_UNITS = 60;
const large = (): { key: boolean; data: Buffer }[] =>
  smallStream().map(({ key, data }) => {
    const filler = Buffer.alloc(UNIT_BYTES - data.length, 0xff);
    filler.set([0, 0, 0, 1, 12]);
    filler[filler.length - 1] = 0x80;
    return { key, data: Buffer.concat([data, filler]) };
  });

/** Fills the connection of a viewer that does not read, while the other one reads. */
async function jam({ source, viewer: slow, other }: Watched): Promise<void> {
  source.deliver(1);
  await slow.untilUnits(1);
  slow.socket.pause();
  for (let count = 0; count < JAM_UNITS; count += 1) {
    // Near the end the waiting units grow older than they may.
    if (count === JAM_UNITS - 10) advanceClock(2 * VIEWER_LIMITS.QUEUE_MS);
    source.deliver(1);
    await other.untilUnits(source.delivered);
  }
}

/** The size of all live buffers. */
function bytesInUse(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().arrayBuffers;
}

/** Delta units whose previous unit is missing. */
function undecodable(numbers: readonly { number: number; key: boolean }[]): number[] {
  return numbers
    .filter(({ number, key }, index) => !key && numbers[index - 1]?.number !== number - 1)
    .map(({ number }) => number);
}

describe("a slow viewer", () => {
  const serve = servers();

  it("skips up to a key frame, and does not delay the others", async () => {
    const watched = await serve.watched({ units: large() }, 2);
    const { source, viewer: slow, other, registry } = watched;
    await jam(watched);
    expect(other.numbers).toEqual(Array.from({ length: source.delivered }, (_, index) => index + 1));
    slow.socket.resume();
    await until(() => {
      source.deliver(1);
      return slow.units.length > 0 && slow.units.at(-1)?.number === source.delivered - 1;
    }, "the slow viewer to catch up");
    expect(slow.units.length).toBeLessThan(source.delivered);
    expect(undecodable(slow.units)).toEqual([]);
    await until(() => (slow.all("statistics").at(-1)?.skipped ?? 0) > 0, "the skipped units");
    expect(other.all("statistics").at(-1)?.skipped).toBe(0);
    expect(await registry.metrics()).toMatch(/vsockenc_viewer_units_skipped_total\{vm="test"\} [1-9]/);
  });

  it("gets a requested key frame when it reads again, and not before", async () => {
    const [key, ...deltas] = large().filter(({ key }, index) => index === 0 || !key);
    if (key === undefined) throw new Error("no stream");
    const units = [key, ...Array.from({ length: 40 }, () => deltas).flat()];
    const watched = await serve.watched({ units }, 2);
    const { source, viewer: slow } = watched;
    await jam(watched);
    expect(source.keyFrameRequests).toBe(0);
    slow.socket.resume();
    await until(() => source.keyFrameRequests === 1, "the request");
    source.deliver(3);
    source.deliverKey();
    source.deliver(1);
    await until(() => slow.numbers.at(-1) === source.delivered, "the units after the key frame");
    expect(slow.units.slice(-2).map(({ number, key }) => [source.delivered - number, key])).toEqual([
      [1, true],
      [0, false],
    ]);
    expect(undecodable(slow.units)).toEqual([]);
  });

  it("does not grow the server's memory, however long it does not read", async () => {
    const units = large();
    const watched = await serve.watched({ units }, 2);
    const { source, other } = watched;
    await jam(watched);
    other.messages.length = 0;
    const before = bytesInUse();
    for (let count = 0; count < 8; count += 1) {
      // Each unit has its own buffer, as from an encoder.
      for (const { data, key } of units) {
        source.deliverBytes(data, key);
        await other.untilUnits(1);
        other.messages.length = 0;
      }
    }
    expect(bytesInUse() - before).toBeLessThan(2 * VIEWER_LIMITS.QUEUE_BYTES + 20 * UNIT_BYTES);
  });

  it("is closed when it reads nothing at all", async () => {
    const { server, connect, registry } = await serve();
    const titled = (id: number): TestSource => new TestSource({ id: `source/${id}`, title: "x".repeat(255) });
    const [viewer, other] = [await connect(), await connect()];
    viewer.socket.pause();
    // Every change sends the list, which must not pile up unread.
    for (let id = 0; id < VIEWER_LIMITS.SOURCES; id += 1) server.add(titled(id));
    await until(async () => {
      server.remove("source/0");
      await other.settled();
      server.add(titled(0));
      await other.settled();
      return (await registry.metrics()).includes('vsockenc_viewer_refused_total{reason="notReading"} 1');
    }, "its end");
    viewer.socket.resume();
    await viewer.untilClosed();
    await other.settled();
  });
});
