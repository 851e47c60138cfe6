import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseConfiguration } from "../../../host/config.ts";
import { type VmLook, type VmState, VmWatch } from "../../../host/relay/vm-state.ts";
import { temporaryFolder } from "../../support/folder.ts";

const folder = temporaryFolder();
const socket = join(folder, "gpu");

function watch(more: string): VmWatch {
  const [vm] = parseConfiguration(`[[vm]]\nname = "a"\nports = ["/run/p"]\n${more}`, "test").vm;
  if (vm === undefined) throw new Error("unreachable");
  return new VmWatch(vm);
}

const WITH_GPU = `export = "/run/e"\ngpu = { socket = "${socket}" }\n`;

function states(vm: VmWatch, looks: readonly VmLook[]): VmState[] {
  return looks.map((look) => {
    vm.look(look);
    return vm.state;
  });
}

describe("a VM", () => {
  it("is off, starting, running, and off again", () => {
    const vm = watch(WITH_GPU);
    writeFileSync(socket, "");
    const off = { connected: false, exporterUp: true };
    expect(states(vm, [{ connected: false, exporterUp: false }, off])).toEqual(["off", "off"]);
    // QEMU connects to one after the other.
    expect(states(vm, [{ connected: true, exporterUp: true }])).toEqual(["starting"]);
    rmSync(socket);
    expect(states(vm, [off])).toEqual(["starting"]);
    expect(states(vm, [{ connected: true, exporterUp: true }])).toEqual(["running"]);
    expect(vm.fault).toBeUndefined();
    expect(states(vm, [{ connected: false, exporterUp: false }])).toEqual(["off"]);
  });

  it.each([
    ["has ended", false],
    ["was started after it", true],
  ])("runs without its GPU when the process %s", (_, exporterUp) => {
    const vm = watch(WITH_GPU);
    expect(states(vm, [{ connected: true, exporterUp: true }])).toEqual(["running"]);
    writeFileSync(socket, "");
    const look = { connected: true, exporterUp };
    expect(states(vm, [look, look, look, look])).toEqual(["starting", "starting", "starting", "without-gpu"]);
    expect(vm.fault).toContain("a runs without its GPU");
    expect(vm.fault).toContain("restart the VM");
    expect(states(vm, [{ connected: false, exporterUp }])).toEqual(["off"]);
    rmSync(socket);
  });

  it("that renders has its exporter in QEMU", () => {
    const vm = watch('export = "/run/e"\ngpu = { kind = "qemu-gl" }\n');
    expect(states(vm, [{ connected: true, exporterUp: true }])).toEqual(["running"]);
    const look = { connected: true, exporterUp: false };
    states(vm, [look, look, look, look]);
    expect(vm.fault).toContain("--environment");
  });

  it("without an exporter runs while its port is connected, and without a port while its exporter answers", () => {
    const look = (connected: boolean | undefined, exporterUp: boolean | undefined): VmLook => ({
      ...{ connected, exporterUp },
    });
    expect(states(watch(""), [look(false, undefined), look(true, undefined)])).toEqual(["off", "running"]);
    const vm = watch('export = "/run/e"\n');
    expect(states(vm, [look(undefined, false), look(undefined, true)])).toEqual(["off", "running"]);
  });
});
