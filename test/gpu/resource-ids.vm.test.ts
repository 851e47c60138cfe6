/**
 * Ids that come again. Linux gives a new id to each resource, unless its driver is told (virglhack=0) to take the
 * lowest that is free; then the ids of one program are those of the one before, and only the generation differs.
 */
import { afterEach, expect, it } from "vitest";
import { ExportClient, type ExportedResource } from "../../host/export/client.ts";
import { readCounters } from "../support/counter.ts";
import { exportedBytes } from "../support/exported.ts";
import { until } from "../support/until.ts";
import { Vm } from "../vm/vm.ts";

const BUFFERS = 6;
const LAST_ID = 200;
/** Each program has its own size, so that a stale answer shows. */
const SIZES = [
  { width: 640, height: 480 },
  { width: 800, height: 600 },
  { width: 576, height: 320 },
] as const;
type Size = (typeof SIZES)[number];

let vm: Vm | undefined;
let client: ExportClient | undefined;

afterEach(async () => {
  client?.close();
  await vm?.shutdown();
});

/** What the guest has at this moment. */
async function resources(exporter: ExportClient): Promise<ExportedResource[]> {
  const answers = await Promise.allSettled(
    Array.from({ length: LAST_ID }, (_, index) => exporter.acquire(index + 1)),
  );
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
}

/** The counter drawn into a resource; undefined if there is none. */
function counter(resource: ExportedResource, { width, height }: Size): number | undefined {
  const bytes = exportedBytes(resource);
  const blue = Uint8Array.from({ length: width * height }, (_, pixel) => bytes[pixel * 4] ?? 0);
  return readCounters([blue], width)[0];
}

/** Runs a program that draws, looks at its buffers, ends it; gives ids and generations. */
async function look(machine: Vm, exporter: ExportClient, size: Size): Promise<Map<number, number>> {
  const own = ({ width, height }: ExportedResource) => width === size.width && height === size.height;
  const job = machine.start(
    `dmabufsrc --live --frames 100000 --buffers ${BUFFERS} --width ${size.width} --height ${size.height} --pipeline fakesink`,
  );
  let found: ExportedResource[] = [];
  await until(async () => {
    found = (await resources(exporter)).filter(own);
    return found.length === BUFFERS && found.some((one) => (counter(one, size) ?? 0) > 0);
  }, "buffers with pictures");
  const generations = new Map(found.map(({ resource, generation }) => [resource, generation]));
  job.signal("KILL");
  await job.done;
  // The guest's kernel frees them when it gets to it.
  const isOld = ({ resource, generation }: ExportedResource): boolean =>
    generations.get(resource) === generation;
  await until(async () => !(await resources(exporter)).some(isOld), "the end of the program's resources");
  return generations;
}

it.each([
  ["reuses ids", 0],
  ["counts ids up", 1],
])("serves no stale picture to a relay when the guest %s", async (_how, virglhack) => {
  vm = await Vm.boot({ relay: false, kernelArgs: [`virtio_gpu.virglhack=${virglhack}`] });
  const parameter = await vm.run("cat /sys/module/virtio_gpu/parameters/virglhack");
  expect(parameter.stdout.trim()).toBe(String(virglhack));
  const exporter: ExportClient = await ExportClient.connect(vm.exportSocket, {
    onRevoke: (resource, generation) => exporter.release(resource, generation),
  });
  client = exporter;
  const runs: Map<number, number>[] = [];
  for (const size of SIZES) runs.push(await look(vm, exporter, size));
  const [first, ...later] = runs;
  for (const run of later) {
    const again = [...run.keys()].filter((id) => first?.has(id));
    expect(again).toHaveLength(virglhack === 0 ? BUFFERS : 0);
    expect(Math.min(...run.values())).toBeGreaterThan(Math.max(...(first?.values() ?? [])));
  }
});
