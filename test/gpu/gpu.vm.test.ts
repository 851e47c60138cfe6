/** The GPU with a real guest: Linux's own driver on stock QEMU, watched through the export socket. */
import { readSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ExportClient, type ExportedResource } from "../../host/export/client.ts";
import type { Rectangle } from "../../proto/export.ts";
import { until } from "../support/until.ts";
import { Vm } from "../vm/vm.ts";

const HEADS = 3;
const SIZE = { width: 1366, height: 768 };

let vm: Vm;
let client: ExportClient;
/** What each head shows, and how often that changed. */
const shown = new Map<number, { resource: number; rectangle: Rectangle; changes: number }>();
let damages = 0;
const revoked: number[] = [];

beforeAll(async () => {
  vm = await Vm.boot({
    gpu: "vsockenc",
    relay: false,
    payload: false,
    heads: HEADS,
    // More than fits below 4 GiB of addresses on q35: file offsets differ from guest addresses.
    memoryMiB: 3072,
    mode: `${SIZE.width}x${SIZE.height}`,
  });
  client = await ExportClient.connect(vm.exportSocket, {
    onScanout: (head, resource, rectangle) => {
      shown.set(head, { resource, rectangle, changes: (shown.get(head)?.changes ?? 0) + 1 });
    },
    onDamage: () => {
      damages++;
    },
    onRevoke: (resource, generation) => {
      revoked.push(resource);
      client.release(resource, generation);
    },
    onClose: () => undefined,
  });
});

afterAll(async () => {
  client?.close();
  await vm?.shutdown();
});

const seconds = (count: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, count * 1000));

/** The resource's bytes, as its extents say. */
function bytesOf(resource: ExportedResource): Buffer {
  return Buffer.concat(
    resource.extents.map(({ memory, offset, length }) => {
      const bytes = Buffer.alloc(length);
      readSync(resource.memories.get(memory)?.descriptor ?? -1, bytes, 0, length, offset);
      return bytes;
    }),
  );
}

/** Flips as long as the guest lives, or until it is told to stop. */
const startFlipping = () =>
  vm.start(
    "C=$(modetest -M virtio_gpu -c | awk '$3 == \"connected\" {print $1; exit}'); sleep 600 | modetest -M virtio_gpu -s $C:1366x768 -v",
  );

const changes = (): number => shown.get(0)?.changes ?? 0;

it("gives the kernel a working display with every head and its EDID", async () => {
  const kernel = await vm.run("dmesg | grep -E 'virtio_gpu|\\[drm' ");
  expect(kernel.stdout).toContain("features: -virgl +edid");
  expect(kernel.stdout).toContain(`number of scanouts: ${HEADS}`);
  expect(kernel.stdout).toContain("Initialized virtio_gpu");
  expect(kernel.stdout).not.toMatch(/\*ERROR\*|EDID.*invalid|checksum/i);
  const connectors = await vm.run("modetest -M virtio_gpu -c");
  expect(connectors.stdout.match(/\tconnected\t/g)).toHaveLength(HEADS);
  expect(connectors.stdout.match(/#0 1366x768 59\.\d+ .*preferred/g)).toHaveLength(HEADS);
  const names = await vm.run("cat /sys/class/drm/card*-Virtual-*/edid | grep -ao 'vsockenc [0-9]' | sort");
  expect(names.stdout.trim().split("\n")).toEqual(["vsockenc 0", "vsockenc 1", "vsockenc 2"]);
});

it("shows the console from the guest's own pages", async () => {
  await until(() => (shown.get(0)?.resource ?? 0) !== 0, "the console's scanout");
  const resource = await client.acquire(shown.get(0)?.resource ?? 0);
  expect(resource).toMatchObject(SIZE);
  const row =
    "printf 'pixels of the guest' | dd of=/dev/fb0 bs=1 seek=$((300 * 1366 * 4)) conv=notrunc status=none";
  expect((await vm.run(row)).stderr).toBe("");
  expect(
    bytesOf(resource)
      .subarray(300 * 1366 * 4)
      .toString("latin1", 0, 19),
  ).toBe("pixels of the guest");
  client.release(resource.resource, resource.generation);
});

it("sets a mode and flips", async () => {
  const before = changes();
  const result = await vm.run(
    "C=$(modetest -M virtio_gpu -c | awk '$3 == \"connected\" {print $1; exit}'); sleep 8 | modetest -M virtio_gpu -s $C:1366x768 -v",
  );
  expect(`${result.stdout}${result.stderr}`).toMatch(/freq: \d+\.\d+Hz/);
  expect(changes() - before).toBeGreaterThan(20);
  expect(damages).toBeGreaterThan(20);
});

it("keeps everything over stop and cont while the guest flips", async () => {
  const flipping = startFlipping();
  const start = changes();
  await until(() => changes() > start + 10, "flips");
  const held = await client.acquire(shown.get(0)?.resource ?? 0);
  for (let round = 0; round < 5; round++) {
    await vm.qmp.execute("stop");
    await seconds(0.2);
    const stopped = changes();
    const now = await client.acquire(held.resource);
    expect(now.generation).toBe(held.generation);
    await seconds(0.3);
    expect(changes()).toBe(stopped);
    await vm.qmp.execute("cont");
    await until(() => changes() > stopped + 5, "flips after cont");
  }
  flipping.signal("TERM");
  await flipping.done;
});

it("asks before the guest frees what is held", async () => {
  const flipping = startFlipping();
  const start = changes();
  await until(() => changes() > start + 5, "flips");
  const held = await client.acquire(shown.get(0)?.resource ?? 0);
  revoked.length = 0;
  flipping.signal("TERM");
  await vm.run("pkill modetest; true");
  await flipping.done;
  await until(() => revoked.includes(held.resource), "the revoke");
});

it("survives resets while the guest flips", async () => {
  for (let round = 0; round < 2; round++) {
    const flipping = startFlipping();
    flipping.done.catch(() => undefined);
    const start = changes();
    await until(() => changes() > start + 10, "flips");
    const held = await client.acquire(shown.get(0)?.resource ?? 0);
    revoked.length = 0;
    await vm.reset();
    expect(revoked).toContain(held.resource);
    const again = await client.acquire(shown.get(0)?.resource ?? 0);
    expect(again.generation).toBeGreaterThan(held.generation);
    client.release(again.resource, again.generation);
  }
  const result = await vm.run("modetest -M virtio_gpu -c | grep -c '\tconnected\t'; dmesg | grep -c 'ERROR'");
  expect(result.stdout.trim().split("\n")).toEqual([String(HEADS), "0"]);
});

it("survives the driver's removal and return", async () => {
  const result = await vm.run(
    "echo 0 > /sys/class/vtconsole/vtcon1/bind; D=$(basename $(readlink -f /sys/bus/virtio/drivers/virtio_gpu/virtio*)); " +
      "cd /sys/bus/virtio/drivers/virtio_gpu && echo $D > unbind && echo $D > bind && sleep 1 && modetest -M virtio_gpu -c | grep -c '\tconnected\t'",
  );
  expect(result.stdout.trim()).toBe(String(HEADS));
});
