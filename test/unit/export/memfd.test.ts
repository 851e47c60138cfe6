import { mkdtempSync, rmSync, statSync, writeSync } from "node:fs";
import { connect as netConnect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ExportClient } from "../../../host/export/client.ts";
import { ExportConnection } from "../../../host/export/connection.ts";
import { encodeExportMessage } from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { exportedBytes } from "../../support/exported.ts";
import { MemfdExporter, PAGE_BYTES } from "../../support/memfd/memfd-exporter.ts";
import { until } from "../../support/until.ts";
import { memoriesAreFiles } from "../portable/platform.ts";

const PAGES = 16;

describe("MemfdExporter", () => {
  let folder: string;
  let exporter: MemfdExporter;
  const revoked: number[] = [];
  const clients: ExportClient[] = [];
  const connect = async (
    onRevoke: (resource: number) => void = (resource) => void revoked.push(resource),
  ) => {
    const client = await ExportClient.connect(join(folder, "export"), { onRevoke });
    clients.push(client);
    return client;
  };

  beforeEach(() => {
    revoked.length = 0;
    folder = mkdtempSync(join(tmpdir(), "vsockenc-memfd-"));
    exporter = new MemfdExporter(
      { path: join(folder, "export"), bytes: PAGES * PAGE_BYTES },
      pino({ level: "silent" }),
    );
  });
  afterEach(() => {
    vi.useRealTimers();
    for (const client of clients.splice(0)) client.close();
    exporter.close();
    rmSync(folder, { recursive: true });
  });

  it.each([
    "contiguous",
    "scattered",
  ] as const)("shows what was written to a %s resource", async (placement) => {
    const bytes = 3 * PAGE_BYTES - 5;
    exporter.create(7, { width: 1, height: 1, bytes, placement });
    const pixels = Buffer.from(Array.from({ length: bytes }, (_, n) => n * 7));
    exporter.write(7, pixels.subarray(0, 5000));
    exporter.write(7, pixels.subarray(5000), 5000);
    const resource = await (await connect()).acquire(7);
    expect(resource.extents.length).toBe(placement === "contiguous" ? 1 : 3);
    expect(exportedBytes(resource).subarray(0, bytes).equals(pixels)).toBe(true);
    expect(exporter.held).toBe(1);
  });

  it.each([
    [1, 1],
    [PAGE_BYTES, 1],
    [PAGE_BYTES + 1, 2],
    [100 * PAGE_BYTES, 5],
    [0, 5],
  ])("describes only the runs that the first %i bytes lie in", async (bytes, runs) => {
    exporter.create(7, { width: 1, height: 1, bytes: 5 * PAGE_BYTES, placement: "scattered" });
    const { extents } = await (await connect()).acquire(7, { content: "PAGES", bytes });
    expect(extents).toHaveLength(runs);
  });

  it("gives readers read-only memory, and accepts only our own user", async () => {
    exporter.create(1, { width: 8, height: 8 });
    const { memories } = await (await connect()).acquire(1);
    const [memory] = [...memories.values()];
    if (memoriesAreFiles) expect(() => writeSync(memory?.descriptor ?? -1, "x")).toThrow("EBADF");
    expect(statSync(join(folder, "export")).mode & 0o777).toBe(0o600);
  });

  it("refuses what does not exist, was never there, or was freed", async () => {
    const client = await connect();
    await expect(client.acquire(3)).rejects.toMatchObject({ code: "RESOURCE_UNKNOWN" });
    exporter.create(3, { width: 8, height: 8 });
    await exporter.free(3);
    await expect(client.acquire(3)).rejects.toMatchObject({ code: "RESOURCE_UNKNOWN" });
  });

  it("gives a reused id another generation and size", async () => {
    const client = await connect();
    exporter.create(3, { width: 8, height: 8 });
    const first = await client.acquire(3);
    client.release(3, first.generation);
    await exporter.free(3);
    exporter.create(3, { width: 64, height: 32 });
    const second = await client.acquire(3);
    expect(second.generation).not.toBe(first.generation);
    expect(second).toMatchObject({ width: 64, height: 32 });
  });

  it("frees pages when the reader has released them, or after REVOKE_HOLD_MS", async () => {
    const polite = await connect((resource) => polite.release(resource, generation));
    exporter.create(1, { width: 8, height: 8, bytes: PAGES * PAGE_BYTES });
    const { generation } = await polite.acquire(1);
    // The clock stands still, so the pages are freed because the reader has released them.
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    await exporter.free(1);
    exporter.create(1, { width: 8, height: 8, bytes: PAGES * PAGE_BYTES });
    vi.useRealTimers();
    await (await connect()).acquire(1);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    let isFree = false;
    const freed = exporter.free(1).then(() => {
      isFree = true;
    });
    await vi.advanceTimersByTimeAsync(LIMITS.REVOKE_HOLD_MS - 1);
    expect(isFree).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await freed;
    vi.useRealTimers();
    await until(() => revoked.length > 0, "the revoke");
    expect(revoked).toEqual([1]);
    exporter.create(2, { width: 8, height: 8, bytes: PAGES * PAGE_BYTES });
  });

  it("answers a few requests of a relay at a time, however many have come", async () => {
    const requests = 1000;
    let answers = 0;
    let inFirstTurn = 0;
    const { send } = ExportConnection.prototype;
    vi.spyOn(ExportConnection.prototype, "send").mockImplementation(function (
      this: ExportConnection,
      message,
    ) {
      if (message.type === "refused" && ++answers === 1) setImmediate(() => (inFirstTurn = answers));
      send.call(this, message);
    });
    const hello = { type: "hello", version: LIMITS.EXPORT_VERSION, software: "test" } as const;
    const acquire = { type: "acquire", request: 1, resource: 9, content: "PAGES", bytes: 0 } as const;
    const all = [hello, ...Array.from({ length: requests }, () => acquire)].map(encodeExportMessage);
    const relay = netConnect(join(folder, "export"));
    relay.resume().write(Buffer.concat(all));
    await until(() => answers === requests, "all answers");
    expect(inFirstTurn).toBeGreaterThan(0);
    expect(inFirstTurn).toBeLessThan(requests / 2);
    relay.destroy();
    vi.restoreAllMocks();
  });
});
