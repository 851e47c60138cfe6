/** The agents for macOS, read as XML property lists (plist(5)). No launchd has seen them. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";

type Value = string | number | boolean | readonly Value[] | { readonly [key: string]: Value };

/** Reads what the agents use of the format: dict, array, string, integer, true, false; anything else is an error. */
function parsePlist(text: string): Value {
  const header =
    /^<\?xml version="1\.0" encoding="UTF-8"\?>\s*<!DOCTYPE plist PUBLIC "-\/\/Apple\/\/DTD PLIST 1\.0\/\/EN" "[^"]+">/;
  expect(text).toMatch(header);
  const comments = /<!--(?:(?!--)[\s\S])*-->/g;
  const tokens =
    text
      .replace(header, "")
      .replace(comments, "")
      .match(/<[^>]+>|[^<\s][^<]*/g) ?? [];
  const next = (): string => tokens.shift() ?? "the end";
  const take = (wanted: string): void => {
    const found = next();
    if (found !== wanted) throw new Error(`${found} instead of ${wanted}`);
  };
  const content = (tag: string): string => {
    const found = next();
    take(`</${tag}>`);
    return found;
  };
  const value = (tag: string): Value => {
    switch (tag) {
      case "<true/>":
        return true;
      case "<false/>":
        return false;
      case "<string>":
        return content("string");
      case "<integer>":
        return Number(content("integer"));
      case "<array>": {
        const values: Value[] = [];
        for (let item = next(); item !== "</array>"; item = next()) values.push(value(item));
        return values;
      }
      case "<dict>": {
        const entries: [string, Value][] = [];
        for (let key = next(); key !== "</dict>"; key = next()) {
          if (key !== "<key>") throw new Error(`${key} instead of a key`);
          entries.push([content("key"), value(next())]);
        }
        if (new Set(entries.map(([key]) => key)).size < entries.length) throw new Error("a key twice");
        return Object.fromEntries(entries);
      }
      default:
        throw new Error(`${tag} is no value`);
    }
  };
  take('<plist version="1.0">');
  const result = value(next());
  take("</plist>");
  expect(tokens).toEqual([]);
  return result;
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

  it("runs a command that there is", () => {
    const { ProgramArguments: command, EnvironmentVariables: environment } = parsePlist(text) as {
      ProgramArguments: string[];
      EnvironmentVariables: { PATH: string };
    };
    expect(command).toEqual([
      "/usr/bin/env",
      "vsockenc",
      name,
      "--config",
      expect.stringMatching(/^\/Users\/USER\/.*\.toml$/),
    ]);
    expect(environment.PATH).toContain("/opt/homebrew/bin");
    const main = join(packageRoot, "cli", "main.ts");
    const { status, stdout } = spawnSync(
      join(packageRoot, "node_modules", ".bin", "tsx"),
      [main, name, "--help"],
      {
        encoding: "utf8",
      },
    );
    expect(status).toBe(0);
    expect(stdout).toContain("--config");
  });

  it("says how it is installed, with the only placeholder that it has", () => {
    expect(text).toContain(
      `sed "s|/Users/USER|$HOME|" packaging/launchd/${file} > ~/Library/LaunchAgents/${file}`,
    );
    expect(text.replaceAll("/Users/USER", "")).not.toContain("USER");
  });
});
