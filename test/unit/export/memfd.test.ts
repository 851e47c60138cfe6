import { mkdtempSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ExportClient, type ExportedResource } from "../../../host/export/client.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { MemfdExporter, PAGE_BYTES } from "../../support/memfd/memfd-exporter.ts";
import { memoriesAreFiles } from "../portable/platform.ts";

const PAGES = 16;

/** The bytes of a resource, by its extents. */
function read({ extents, memories }: ExportedResource): Buffer {
  return Buffer.concat(
    extents.map(({ memory, offset, length }) => {
      const bytes = Buffer.alloc(length);
      readSync(memories.get(memory)?.descriptor ?? -1, bytes, 0, length, offset);
      return bytes;
    }),
  );
}

describe("MemfdExporter", () => {
  let folder: string;
  let exporter: MemfdExporter;
  const revoked: number[] = [];
  const clients: ExportClient[] = [];
  const connect = async (
    onRevoke: (resource: number) => void = (resource) => void revoked.push(resource),
  ) => {
    const ignore = () => undefined;
    const client = await ExportClient.connect(join(folder, "export"), {
      onRevoke,
      onScanout: ignore,
      onDamage: ignore,
      onClose: ignore,
    });
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
    expect(read(resource).subarray(0, bytes).equals(pixels)).toBe(true);
    expect(exporter.held).toBe(1);
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
    let start = performance.now();
    await exporter.free(1);
    expect(performance.now() - start).toBeLessThan(LIMITS.REVOKE_HOLD_MS);
    exporter.create(1, { width: 8, height: 8, bytes: PAGES * PAGE_BYTES });
    await (await connect()).acquire(1);
    start = performance.now();
    await exporter.free(1);
    expect(performance.now() - start).toBeGreaterThan(LIMITS.REVOKE_HOLD_MS - 20);
    expect(revoked).toEqual([1]);
    exporter.create(2, { width: 8, height: 8, bytes: PAGES * PAGE_BYTES });
  });
});
