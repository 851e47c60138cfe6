/** The GPU with the kernel of Debian 12 (6.1), whose virtio-gpu driver differs in damage, flips and frame buffers. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ExportClient } from "../../host/export/client.ts";
import { exportedBytes } from "../support/exported.ts";
import { until } from "../support/until.ts";
import { Vm } from "../vm/vm.ts";

const SIZE = { width: 1280, height: 720 };
const ROW_BYTES = SIZE.width * 4;

let vm: Vm;
let client: ExportClient;
/** Resources that head 0 has shown, oldest first. */
const shown: number[] = [];

beforeAll(async () => {
  vm = await Vm.boot({
    suite: "bookworm",
    relay: false,
    payload: false,
    mode: `${SIZE.width}x${SIZE.height}`,
    log: console.log,
  });
  client = await ExportClient.connect(vm.exportSocket, {
    onScanout: (_head, resource) => void shown.push(resource),
    onRevoke: (resource, generation) => client.release(resource, generation),
  });
});

afterAll(async () => {
  client?.close();
  await vm?.shutdown();
});

it("is a working display for its driver", async () => {
  const { stdout } = await vm.run("uname -r; dmesg | grep -E 'virtio.gpu|drm'");
  expect(stdout).toMatch(/^6\.1\./);
  expect(stdout).toContain("features: -virgl +edid");
  expect(stdout).toContain("Initialized virtio_gpu");
  expect(stdout).not.toMatch(/\*ERROR\*|EDID.*invalid|checksum/i);
});

it("sets a mode and flips", async () => {
  const before = shown.length;
  const { stdout, stderr } = await vm.run(
    "C=$(modetest -M virtio_gpu -c | awk '$3 == \"connected\" {print $1; exit}'); " +
      `sleep 2 | modetest -M virtio_gpu -s $C:${SIZE.width}x${SIZE.height} -v`,
  );
  expect(stdout + stderr).toMatch(/freq: \d+\.\d+Hz/);
  expect(shown.length - before).toBeGreaterThan(20);
});

it("shows the console's pixels by resource id", async () => {
  await until(() => (shown.at(-1) ?? 0) !== 0, "the console's scanout");
  const at = 300 * ROW_BYTES;
  const { stderr } = await vm.run(
    `printf 'pixels of 6.1' | dd of=/dev/fb0 bs=1 seek=${at} conv=notrunc status=none`,
  );
  expect(stderr).toBe("");
  const console = await client.acquire(shown.at(-1) ?? 0);
  expect(console).toMatchObject(SIZE);
  const picture = exportedBytes(console);
  client.release(console.resource, console.generation);
  expect(picture.toString("latin1", at, at + 13)).toBe("pixels of 6.1");
});
