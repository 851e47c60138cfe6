/**
 * Records the committed sessions with real guests: `npx tsx test/vectors/vhost/record.ts`, after `npm run build`.
 *
 * Only needed when the format changes or another front end or kernel is to be remembered: the device's answers are
 * compared with those in the files, so a change of the device must be a deliberate change of the files.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Vm, type VmOptions } from "../../vm/vm.ts";

const FLIP =
  "C=$(modetest -M virtio_gpu -c | awk '$3 == \"connected\" {print $1; exit}'); " +
  "sleep 0.1 | modetest -M virtio_gpu -s $C:1280x800 -v";
const STOPPED_MS = 150;

async function record(
  name: string,
  scene: (vm: Vm) => Promise<void>,
  options: VmOptions = {},
): Promise<void> {
  const recordSession = fileURLToPath(new URL(`${name}.jsonl`, import.meta.url));
  const vm = await Vm.boot({ relay: false, payload: false, recordSession, log: console.log, ...options });
  try {
    await scene(vm);
  } finally {
    await vm.shutdown();
  }
}

await record("debian13-flips", async (vm) => void (await vm.run(FLIP)));
await record("debian12-flips", async (vm) => void (await vm.run(FLIP)), { suite: "bookworm" });
await record("debian13-stop-cont", async (vm) => {
  const flipping = vm.start(FLIP);
  for (let round = 0; round < 3; round++) {
    await sleep(STOPPED_MS);
    await vm.qmp.execute("stop");
    await sleep(STOPPED_MS);
    await vm.qmp.execute("cont");
  }
  await flipping.done;
});
await record("debian13-reset", async (vm) => {
  vm.start(FLIP);
  await sleep(4 * STOPPED_MS);
  await vm.reset();
});
