import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfiguration } from "../../../host/config.ts";
import { viewerOf } from "../../../host/heads/browser-viewer.ts";
import { Relay } from "../../../host/relay/relay.ts";
import { ViewerOptionsError } from "../../../viewer/server/options.ts";
import { freePort } from "../../support/free-port.ts";
import { until } from "../../support/until.ts";

describe("the relay's viewer", () => {
  let folder: string;
  const relays: Relay[] = [];
  const lines: string[] = [];
  const log = pino({ level: "info" }, { write: (line) => void lines.push(line) });

  const start = async (more: string, port = "p"): Promise<Relay> => {
    const vm = `[[vm]]\nname = "a"\nchardev = "client"\nports = ["${folder}/${port}"]`;
    const text = `status.enabled = false\nencoder.order = ["null"]\n${more}\n${vm}`;
    const configuration = parseConfiguration(text, "test");
    const relay = await Relay.start(configuration, log, viewerOf(configuration, folder));
    relays.push(relay);
    return relay;
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "vsockenc-viewer-"));
    writeFileSync(join(folder, "index.html"), "<!doctype html><title>page</title>");
    lines.length = 0;
  });
  afterEach(() => {
    for (const relay of relays.splice(0)) relay.stop();
    rmSync(folder, { recursive: true });
  });

  it("is off unless it is switched on", async () => {
    const relay = await start("");
    expect(relay.viewerAddress).toBeUndefined();
  });

  it("writes the address with its token into the log", async () => {
    const port = await freePort();
    const relay = await start(`viewer = { enabled = true, port = ${port}, token = "0123456789abcdef" }`);
    const address = `http://127.0.0.1:${port}/?token=0123456789abcdef`;
    expect(relay.viewerAddress).toBe(address);
    expect(lines.filter((line) => line.includes(address))).toHaveLength(1);
    expect(await (await fetch(address)).text()).toContain("<title>page</title>");
  });

  it("keeps the relay from starting where its configuration is wrong, and leaves nothing behind", async () => {
    const port = await freePort();
    const wrong = `viewer = { enabled = true, port = ${port}, host = "192.0.2.1", remote = true }`;
    await expect(start(wrong)).rejects.toThrow(ViewerOptionsError);
  });

  it("opens when its port is free, and the relay serves meanwhile", async () => {
    const port = await freePort();
    const first = await start(`viewer = { enabled = true, port = ${port} }`);
    const second = await start(`viewer = { enabled = true, port = ${port} }`, "q");
    expect(second.viewerAddress).toBeUndefined();
    expect(lines.filter((line) => line.includes("no viewer until its port is free"))).toHaveLength(1);
    first.stop();
    const address = await until(() => second.viewerAddress, "the viewer");
    expect(await (await fetch(address)).text()).toContain("<title>page</title>");
    second.stop();
  });
});
