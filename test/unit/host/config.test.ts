import { describe, expect, it } from "vitest";
import { ConfigurationError, parseConfiguration, readConfiguration } from "../../../host/config.ts";

const VM = `
[[vm]]
name = "desk"
ports = ["/run/a.sock"]
`;

/** The message with which a configuration is refused. */
function refusal(text: string): string {
  try {
    parseConfiguration(text, "host.toml");
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

describe("configuration", () => {
  it("fills in defaults", () => {
    expect(parseConfiguration(VM, "host.toml")).toEqual({
      log: { level: "info" },
      encoder: { order: ["libx264"] },
      vm: [{ name: "desk", ports: ["/run/a.sock"] }],
    });
  });

  it.each([
    ["", "vm"],
    ["[[vm]]\nname = 'x y'\nports = ['/a']", "vm[0].name"],
    ["[[vm]]\nname = 'x'\nports = []", "vm[0].ports"],
    ["[[vm]]\nname = 'x'\nports = ['/a', '/b', '/c', '/d', '/e']", "vm[0].ports"],
    [`[[vm]]\nname = 'x'\nports = ['/${"a".repeat(200)}']`, "vm[0].ports[0]"],
    [`${VM}exports = '/run/e.sock'`, "exports"],
    [`${VM}gpu = { socket = '/g', heads = 17 }`, "vm[0].gpu.heads"],
    [`${VM}gpu = { socket = '/g', mode = 'big' }`, "vm[0].gpu.mode"],
    [`${VM}${VM}`, "a second time"],
    [`[log]\nlevel = 'loud'\n${VM}`, "log.level"],
    [`[encoder]\norder = ['h262']\n${VM}`, "encoder.order[0]"],
  ])("refuses %j and names %s", (text, field) => {
    expect(refusal(text)).toContain("host.toml");
    expect(refusal(text)).toContain(field);
  });

  it("says where TOML breaks", () => {
    expect(refusal("[[vm]\nname = 1")).toMatch(/host\.toml.*line|1:|\[\[vm\]/s);
  });

  it("says that a file cannot be read", () => {
    expect(() => readConfiguration("/nonexistent/host.toml")).toThrow(ConfigurationError);
  });
});
