/** A VM's table of the configuration, written for a user who has not written one. */
import type { DisplayMode } from "./gpu/display-mode.ts";
import type { RunGpu } from "./qemu-line.ts";

export interface VmShape {
  readonly gpu: RunGpu;
  readonly heads: number;
  readonly mode: DisplayMode;
}

/**
 * The table, in TOML.
 *
 * @param socket gives the path of each of the VM's sockets
 */
export function vmTable(
  name: string,
  { gpu, heads, mode: { width, height } }: VmShape,
  socket: (what: "port0" | "export" | "gpu") => string,
): string {
  const shape = `heads = ${heads}, mode = "${width}x${height}"`;
  const [port, exporter, endpoint] = [socket("port0"), socket("export"), socket("gpu")].map((path) =>
    JSON.stringify(path),
  );
  const own: Readonly<Record<RunGpu, string>> = {
    "2d": `export = ${exporter}\nview.heads = true\ngpu = { socket = ${endpoint}, ${shape} }\n`,
    gl: `export = ${exporter}\ngpu = { kind = "qemu-gl", ${shape} }\n`,
    none: "",
  };
  return `[[vm]]\nname = ${JSON.stringify(name)}\nports = [${port}]\n${own[gpu]}`;
}
