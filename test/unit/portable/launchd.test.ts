/** The agents for macOS, read as XML property lists (plist(5)). Untested with launchd. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { runToEnd } from "../../support/native-program.ts";

/** Python's reader (meson needs Python, too). It takes the last of two equal keys, so they are counted. */
function parsePlist(text: string): unknown {
  const script = "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
  const { status, stdout, stderr } = spawnSync("python3", ["-c", script], { input: text, encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout.match(/"[^"]*":/g)?.length).toBe(text.match(/<key>/g)?.length);
  return JSON.parse(stdout);
}

const folder = join(packageRoot, "packaging", "launchd");

describe.each(readdirSync(folder))("%s", (file) => {
  const name = file.replace(/^org\.vsockenc\.|\.plist$/g, "");
  const text = readFileSync(join(folder, file), "utf8");

  it("is an agent that is kept alive, with a log of its own", () => {
    const log = `/Users/USER/Library/Logs/vsockenc-${name}.log`;
    expect(parsePlist(text)).toMatchObject({
      Label: `org.vsockenc.${name}`,
      RunAtLoad: true,
      KeepAlive: true,
      ThrottleInterval: 1,
      Umask: 0o077,
      StandardOutPath: log,
      StandardErrorPath: log,
      SoftResourceLimits: { NumberOfFiles: 16384 },
      HardResourceLimits: { NumberOfFiles: 16384 },
    });
  });

  it("runs an existing command", () => {
    const { ProgramArguments: command, EnvironmentVariables: environment } = parsePlist(text) as {
      ProgramArguments: string[];
      EnvironmentVariables: { PATH: string };
    };
    const config = expect.stringMatching(/^\/Users\/USER\/.*\.toml$/);
    expect(command).toEqual(["/usr/bin/env", "vsockenc", name, "--config", config]);
    expect(environment.PATH).toContain("/opt/homebrew/bin");
    const main = join(packageRoot, "cli", "main.ts");
    const help = runToEnd(join(packageRoot, "node_modules", ".bin", "tsx"), main, name, "--help");
    expect(help).toContain("--config");
  });

  it("states how it is installed, and has one placeholder", () => {
    expect(text).toContain(
      `sed "s|/Users/USER|$HOME|" packaging/launchd/${file} > ~/Library/LaunchAgents/${file}`,
    );
    expect(text.replaceAll("/Users/USER", "")).not.toContain("USER");
  });
});
