/** `vsockenc doctor` in a real guest, complete and with something missing. */
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { useVm } from "../vm/use-vm.ts";

interface Report {
  readonly ok: boolean;
  readonly checks: readonly Readonly<Record<"name" | "status" | "detail", string> & { fix?: string }>[];
}

const guest = useVm({ inDir: packageRoot, log: console.log });

async function doctor(prepare = "", more = "--probe"): Promise<{ status: number; report: Report }> {
  const result = await guest.vm.run(`${prepare} node /in/dist/cli/main.js doctor ${more} --json`);
  expect(result.stderr).toBe("");
  return { status: result.status, report: JSON.parse(result.stdout) as Report };
}

const of = (report: Report, name: string) => report.checks.find((check) => check.name === name);

describe("vsockenc doctor in a guest", () => {
  it("sends a drawn buffer along the whole path and finds no defect", async () => {
    const { status, report } = await doctor();
    const names = ["virtio-gpu", "port", "GStreamer plugin", "probe"];
    expect(report.checks).toMatchObject(names.map((name) => ({ name, status: "ok" })));
    const detail = /reads the same pixels: tier resource, \d+ runs, \/dev\/dri\/renderD/;
    expect(of(report, "probe")?.detail).toMatch(detail);
    expect([status, report.ok]).toEqual([0, true]);
  });

  it("names the remedy for a plugin that GStreamer does not find", async () => {
    const { status, report } = await doctor("GST_PLUGIN_PATH=/nowhere", "");
    const fix = expect.stringContaining("GST_PLUGIN_PATH");
    expect(of(report, "GStreamer plugin")).toMatchObject({ status: "failure", fix });
    expect([status, report.ok]).toEqual([1, false]);
  });

  it("reports a host that does not answer after the relay has ended", async () => {
    await guest.vm.relay?.stop();
    const { status, report } = await doctor();
    expect(of(report, "probe")?.status).toBe("failure");
    expect(of(report, "port")?.status).toBe("ok");
    expect([status, report.ok]).toEqual([1, false]);
  });
});
