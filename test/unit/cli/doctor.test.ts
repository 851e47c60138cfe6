import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { formatChecks } from "../../../cli/doctor/check.ts";
import { checkGuest, looksLikeGuest } from "../../../cli/doctor/guest.ts";
import {
  checkConfiguration,
  checkEncoders,
  checkHost,
  checkKvm,
  checkNode,
} from "../../../cli/doctor/host.ts";
import { parseConfiguration } from "../../../host/config.ts";
import { viewerOf } from "../../../host/heads/browser-viewer.ts";
import { Relay } from "../../../host/relay/relay.ts";
import { encodeExportMessage } from "../../../proto/export.ts";
import { freePort } from "../../support/free-port.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { until } from "../../support/until.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vsockenc-doctor-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("doctor on a host", () => {
  it("finds what this machine has", async () => {
    const checks = await checkHost(undefined);
    for (const name of ["Node.js", "native addon os", "native addon media", "encoders"]) {
      expect(checks).toContainEqual(expect.objectContaining({ name, status: "ok" }));
    }
    for (const { status, fix } of checks) expect(fix === undefined).toBe(status === "ok");
  });

  it("names the GPU of each kind of encoder, and why none uses it", async () => {
    const device = { vaapi: "/dev/dri/renderD191", nvenc: 31 };
    const checks = await checkEncoders({ order: ["libx264", "h264_vaapi"], device });
    expect(checks).toMatchObject([
      { name: "encoders", status: "ok", detail: "libx264 (h264)" },
      {
        name: "encoder.device.vaapi",
        status: "warning",
        detail: expect.stringMatching(/^\/dev\/dri\/renderD191: .*no VAAPI device \/dev\/dri\/renderD191/),
      },
      { name: "encoder.device.nvenc", detail: "31: encoder.order has no encoder for it" },
    ]);
  });

  it("knows the oldest Node, and what KVM needs", () => {
    for (const version of ["20.15.0", "22.0.0"]) expect(checkNode(version).status).toBe("ok");
    for (const version of ["20.14.9", "18.20.0"]) expect(checkNode(version).status).toBe("failure");
    expect(checkKvm(join(folder, "kvm"))).toMatchObject({ status: "warning" });
    writeFileSync(join(folder, "kvm"), "");
    expect(checkKvm(join(folder, "kvm")).status).toBe("ok");
  });

  it("reports the problem of each socket of a configuration, with a fix", async () => {
    const text = `
[[vm]]
name = "a"
ports = ["${folder}/p0", "${folder}/p1", "${folder}/p2"]
export = "${folder}/e"
gpu = { socket = "${folder}/none/g" }
[[listen]]
address = "unix:${folder}/l"`;
    writeFileSync(join(folder, "p1"), "");
    const qemu = createServer().listen(join(folder, "p2"));
    await new Promise((resolve) => qemu.once("listening", resolve));
    const find = async () => {
      const checks = await checkConfiguration(parseConfiguration(text, "test"), true);
      return Object.fromEntries(checks.map((check) => [check.name, check]));
    };
    const before = await find();
    expect(before).toMatchObject({
      "a: port 0": { status: "warning", fix: expect.stringContaining("qemu-args") },
      "a: port 1": { status: "failure", detail: expect.stringContaining("not a socket") },
      "a: port 2": { status: "ok" },
      "a: GPU socket": { status: "failure", fix: expect.stringContaining("install -d") },
      "a: exporter": { status: "warning" },
      [`listener unix:${folder}/l`]: { status: "ok" },
    });
    const exporter = new MemfdExporter({ path: join(folder, "e"), bytes: 1 }, pino({ level: "silent" }));
    try {
      expect((await find())["a: exporter"]).toMatchObject({ status: "ok" });
    } finally {
      exporter.close();
      qemu.close();
    }
  });

  it("knows its own ports from those that another program has taken", async () => {
    const [viewer, status] = [await freePort(), await freePort()];
    const tables = `viewer = { enabled = true, port = ${viewer} }\nstatus.port = ${status}`;
    const text = `${tables}\n[[vm]]\nname = "a"\nchardev = "client"\nports = ["${folder}/p"]`;
    const configuration = parseConfiguration(text, "test");
    const find = async () => {
      const checks = await checkConfiguration(configuration, true);
      return ["viewer's port", "status port"].map((name) => checks.find((check) => check.name === name));
    };
    const [free, taken, own] = ["is free", "another program listens", "the relay answers"].map((detail) => ({
      detail: expect.stringContaining(detail),
    }));
    expect(await find()).toMatchObject([free, free]);
    const others = [viewer, status].map((port) =>
      createServer((socket) => socket.end("220 ready\r\n")).listen(port, "127.0.0.1"),
    );
    await Promise.all(others.map((other) => new Promise((resolve) => other.once("listening", resolve))));
    expect(await find()).toMatchObject([
      { ...taken, status: "warning", fix: expect.stringContaining("viewer.port") },
      { ...taken, status: "warning" },
    ]);
    for (const other of others) other.close();
    const log = pino({ level: "silent" });
    const relay = await Relay.start(configuration, log, viewerOf(configuration));
    try {
      await until(
        async () => (await find()).every((check) => check?.detail.includes("answers")),
        "the relay",
      );
      expect(await find()).toMatchObject([own, own]);
    } finally {
      relay.stop();
    }
  });

  it("reports an exporter in QEMU that is of another version, and that a VM keeps its library", async () => {
    const socket = join(folder, "e");
    const hello = encodeExportMessage({ type: "hello", version: 1, software: "an older exporter" });
    const qemu = createServer((client) => client.on("error", () => {}).write(hello)).listen(socket);
    await new Promise((resolve) => qemu.once("listening", resolve));
    const text = `[[vm]]\nname = "a"\nports = ["${folder}/p"]\nexport = "${socket}"\ngpu = { kind = "qemu-gl" }`;
    try {
      const checks = await checkConfiguration(parseConfiguration(text, "test"), true);
      expect(checks.find(({ name }) => name === "a: exporter")).toMatchObject({
        status: "warning",
        detail: expect.stringContaining("version 1"),
        fix: expect.stringMatching(/--environment.*restart the VM/),
      });
      expect(checks.map(({ name }) => name)).not.toContain("a: GPU socket");
    } finally {
      qemu.close();
    }
  });

  it("prints a line for each check, and the fix below it", () => {
    const text = formatChecks([
      { name: "a", status: "ok", detail: "b" },
      { name: "c", status: "failure", detail: "d", fix: "do e" },
    ]);
    expect(text).toBe("ok    a: b\nFAIL  c: d\n      → do e");
  });
});

describe("doctor in a guest", () => {
  const skipped = `"rendered": {"resource": 0, "tier": null, "skipped": "it has no 3D"}`;
  const rendered = `"rendered": {"resource": 5, "tier": "resource-read", "skipped": null}`;
  const check = (name: string) => {
    const found = checkGuest(folder, false).find((each) => each.name === name);
    if (found === undefined) throw new Error(`no check ${name}`);
    return found;
  };
  const render = (node: string, driver: string, below = "") => {
    const device = join(folder, "sys", "class", "drm", node, "device", below);
    mkdirSync(device, { recursive: true });
    symlinkSync(join("..", "drivers", driver), join(device, "driver"));
    mkdirSync(join(folder, "dev", "dri"), { recursive: true });
    writeFileSync(join(folder, "dev", "dri", node), "");
  };

  it("finds the render node by its driver, not by its number", () => {
    expect(check("virtio-gpu").status).toBe("warning");
    render("renderD128", "i915");
    expect(check("virtio-gpu").status).toBe("warning");
    render("renderD129", "virtio_gpu");
    expect(check("virtio-gpu")).toMatchObject({ status: "ok", detail: "/dev/dri/renderD129" });
  });

  it("finds it below a PCI device too", () => {
    render("renderD128", "virtio_gpu", "virtio1");
    expect(check("virtio-gpu").status).toBe("ok");
  });

  it.each([
    [
      "ok",
      "resource",
      `{"ok": true, "device": "/dev/dri/renderD128", "tier": "resource", "runs": 3, ${skipped}, "host": "x", "error": null, "fix": null}`,
    ],
    [
      "ok",
      "rendered: it has no 3D",
      `{"ok": true, "device": "d", "tier": "resource", "runs": 3, ${skipped}, "host": "x", "error": null, "fix": null}`,
    ],
    [
      "ok",
      "rendered: tier resource-read",
      `{"ok": true, "device": "d", "tier": "resource", "runs": 3, ${rendered}, "host": "x", "error": null, "fix": null}`,
    ],
    [
      "failure",
      "differs",
      `{"ok": false, "device": null, "tier": null, "runs": 0, ${skipped}, "host": null, "error": "the checksum differs", "fix": "do it"}`,
    ],
    ["failure", "cannot read", "Segmentation fault"],
  ])("reports a probe as %s (%s)", (status, detail, report) => {
    writeFileSync(join(folder, "vsockenc-probe"), `#!/bin/sh\ncat <<'END'\n${report}\nEND\n`, {
      mode: 0o755,
    });
    const path = process.env["PATH"];
    process.env["PATH"] = `${folder}:${path}`;
    try {
      const probe = checkGuest(folder, true).find(({ name }) => name === "probe");
      expect(probe).toMatchObject({ status, detail: expect.stringContaining(detail) });
      if (report.includes("do it")) expect(probe?.fix).toBe("do it");
    } finally {
      process.env["PATH"] = path;
    }
  });

  it("finds the port by its name, and so that this is a guest", () => {
    expect(looksLikeGuest(folder)).toBe(false);
    expect(check("port")).toMatchObject({ status: "failure", fix: expect.stringContaining("qemu-args") });
    const kernel = join(folder, "sys", "class", "virtio-ports");
    const port = (device: string, name: string): void => {
      mkdirSync(join(kernel, device), { recursive: true });
      writeFileSync(join(kernel, device, "name"), `${name}\n`);
    };
    port("vport1p1", "org.qemu.guest_agent.0");
    // A console has no name.
    mkdirSync(join(kernel, "vport1p0"));
    expect(looksLikeGuest(folder)).toBe(false);
    port("vport1p2", "org.vsockenc.0");
    expect(looksLikeGuest(folder)).toBe(true);
    const inContainer = { status: "failure", fix: "start the container with --device /dev/vport1p2" };
    expect(check("port")).toMatchObject(inContainer);
    mkdirSync(join(folder, "dev"), { recursive: true });
    writeFileSync(join(folder, "dev", "vport1p2"), "");
    expect(check("port")).toMatchObject({ status: "ok", detail: "/dev/vport1p2" });
  });
});
