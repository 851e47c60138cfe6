import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { bridgeConfiguration } from "../../../guest/bridge/configuration.ts";
import { pipelineText } from "../../../guest/bridge/pipeline-text.ts";
import { temporaryFolder } from "../../support/folder.ts";

const folder = temporaryFolder();

function read(toml: string, overrides = {}) {
  const file = join(folder, "bridge.toml");
  writeFileSync(file, toml);
  return bridgeConfiguration(file, overrides);
}

describe("the bridge's configuration", () => {
  it("is safe without a file: loopback, no input, no fixed token", () => {
    expect(bridgeConfiguration(undefined)).toMatchObject({
      input: { enabled: false },
      viewer: { host: "127.0.0.1", remote: false },
      bitrate: { adapt: true },
    });
    expect(bridgeConfiguration(undefined).viewer.token).toBeUndefined();
  });

  it.each([
    ["inputs = true", "inputs"],
    ['source = "a"\npipeline = "b"', "source: conflicts with"],
    ["bitrate = { min_kbps = 9, max_kbps = 8 }", "bitrate.min_kbps"],
    ["encoder.bitrat = 1", "invalid property name: expected one of"],
    ["encoder.keyframe-interval = 1.5", "keyframe-interval"],
    ['pipeline = "p"\nencoder.bitrate = 1', "encoder: applies"],
    ['viewer.host = "0.0.0.0"', "certificate"],
    ["framerate = 0", "framerate"],
  ])("rejects %s and names the field", (toml, named) => {
    expect(() => read(toml)).toThrow(named);
  });

  it("is overridden by the command line", () => {
    expect(read('pipeline = "p"', { source: "s" })).toMatchObject({ source: "s", pipeline: undefined });
    expect(read('source = "s"', { pipeline: "p" })).toMatchObject({ source: undefined, pipeline: "p" });
    expect(() => read("", { source: "s", pipeline: "p" })).toThrow("--source conflicts with --pipeline");
  });

  it("determines the pipeline", async () => {
    const encoder = read('source = "videotestsrc"\ncodec = "h265"\nencoder = { keyframe-interval = 9 }');
    expect(await pipelineText(encoder)).toBe(
      'videotestsrc ! vsockenc keyframe-interval=9 ! capsfilter caps="video/x-h265,stream-format=(string)byte-stream" ! appsink name=videosink sync=false',
    );
    expect(await pipelineText(read('pipeline = "as it is"'))).toBe("as it is");
  });
});

it("the service passes systemd's verification", () => {
  const name = "vsockenc-bridge.service";
  const unit = readFileSync(join(packageRoot, "packaging", "systemd-user", name), "utf8");
  const file = join(folder, name);
  writeFileSync(file, unit.replace("/usr/bin/vsockenc", "/usr/bin/env"));
  const env = { ...process.env, XDG_RUNTIME_DIR: folder };
  const verify = ["--user", "verify", file];
  const { status, stdout, stderr } = spawnSync("systemd-analyze", verify, { encoding: "utf8", env });
  expect(stdout + stderr).not.toContain("vsockenc");
  expect(status).toBe(0);
});
