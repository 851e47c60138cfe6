/** The GPU with a real guest: Linux's own driver on stock QEMU, watched through the export socket. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ExportClient } from "../../host/export/client.ts";
import type { Rectangle } from "../../proto/export.ts";
import { exportedBytes } from "../support/exported.ts";
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
  });
});

afterAll(async () => {
  client?.close();
  await vm?.shutdown();
});

const changes = (): number => shown.get(0)?.changes ?? 0;
/** Flips as long as its standard input is open: until the guest ends, or is signalled. Resolves when it has begun. */
async function startFlipping() {
  const start = changes();
  const flipping = vm.start(
    "C=$(modetest -M virtio_gpu -c | awk '$3 == \"connected\" {print $1; exit}'); sleep infinity | modetest -M virtio_gpu -s $C:1366x768 -v",
  );
  flipping.done.catch(() => undefined);
  await until(() => changes() > start + 10, "flips");
  return flipping;
}

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
  const at = 300 * 1366 * 4;
  expect(exportedBytes(resource).toString("latin1", at, at + 19)).toBe("pixels of the guest");
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
  const flipping = await startFlipping();
  const held = await client.acquire(shown.get(0)?.resource ?? 0);
  for (let round = 0; round < 5; round++) {
    await vm.qmp.execute("stop");
    // QEMU has stopped the rings when it answers, so nothing is announced any more behind the answer to an Acquire.
    const now = await client.acquire(held.resource);
    const stopped = changes();
    expect(now.generation).toBe(held.generation);
    await client.acquire(held.resource);
    expect(changes()).toBe(stopped);
    await vm.qmp.execute("cont");
    await until(() => changes() > stopped + 5, "flips after cont");
  }
  flipping.signal("TERM");
  await flipping.done;
});

it("asks before the guest frees what is held", async () => {
  const flipping = await startFlipping();
  const held = await client.acquire(shown.get(0)?.resource ?? 0);
  revoked.length = 0;
  flipping.signal("TERM");
  await vm.run("pkill modetest; true");
  await flipping.done;
  await until(() => revoked.includes(held.resource), "the revoke");
});

it("survives resets while the guest flips", async () => {
  for (let round = 0; round < 2; round++) {
    await startFlipping();
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
