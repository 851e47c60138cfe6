/**
 * A relay as in production, i.e. the built command in a process of its own, with a memfd exporter and a guest on each of
 * its ports.
 */
import { lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { packageRoot } from "../../../common/package-root.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import { BenchGuest, type StreamSize } from "./guest.ts";
import { scrollingText } from "./pixels.ts";
import { leaveLastCore, onLastCore } from "./processes.ts";

const PORTS_PER_VM = 4;
/** Pictures in rotation. */
const PICTURES = 8;

interface RigOptions {
  /** Name in the relay's encoder.order. */
  readonly encoder: string;
  /** Streams that can be open at the same time. */
  readonly guests?: number;
  /** Bytes for pictures. */
  readonly memory: number;
  /** Puts the relay on the last core, and this process on the others. */
  readonly pinned?: boolean;
}

interface Rig {
  readonly folder: string;
  readonly relay: SupervisedProcess;
  /** The relay's process id. */
  readonly pid: number;
  readonly guests: readonly BenchGuest[];
  readonly guest: BenchGuest;
  /** Creates resources for a stream, drawn unless the encoder reads no pixel. @returns their ids */
  pictures(size: StreamSize, drawn: boolean): number[];
}

/** Runs `body` with a rig of its own. */
export async function withRig<T>(options: RigOptions, body: (rig: Rig) => Promise<T>): Promise<T> {
  const { encoder, memory, pinned = false } = options;
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-"));
  const exportPath = join(folder, "export");
  const exporter = new MemfdExporter({ path: exportPath, bytes: memory }, pino({ level: "silent" }));
  const ports = Array.from({ length: options.guests ?? 1 }, (_, index) => join(folder, `port${index}`));
  const guests = ports.map((path) => new BenchGuest(path));
  const config = join(folder, "relay.toml");
  writeFileSync(config, relayConfiguration(encoder, ports, exportPath));
  const relay = relayProcess(config, pinned);
  relay.start();
  const restore = pinned ? leaveLastCore() : undefined;
  let nextResource = 1;
  const pictures = ({ width, height }: StreamSize, drawn: boolean): number[] => {
    const pages = drawn ? scrollingText(width, height, PICTURES) : undefined;
    return Array.from({ length: PICTURES }, () => {
      const id = nextResource++;
      exporter.create(id, { width, height });
      const page = pages?.next();
      if (page !== undefined && !page.done) exporter.write(id, page.value);
      return id;
    });
  };
  try {
    const [guest] = guests;
    if (guest === undefined || relay.pid === undefined) throw new Error(`the relay has ended: ${relay.log}`);
    return await body({ folder, relay, pid: relay.pid, guests, guest, pictures });
  } finally {
    restore?.();
    for (const guest of guests) guest.close();
    await relay.stop();
    exporter.close();
    rmSync(folder, { recursive: true });
  }
}

/** Memory for the pictures of a stream. */
export const pictureMemory = ({ width, height }: StreamSize): number =>
  PICTURES * Math.ceil((width * height * 4) / 4096) * 4096;

/** The built `vsockenc relay`, not yet started. */
export function relayProcess(config: string, pinned: boolean): SupervisedProcess {
  const main = join(packageRoot, "dist", "cli", "main.js");
  const command = [process.execPath, main, "relay", "--config", config];
  return new SupervisedProcess("vsockenc relay", pinned ? onLastCore(command) : command);
}

/**
 * A configuration that serves `ports`, all from one exporter. VMs have no socket in common, so each gets a name of its own for it,
 * a link beside it.
 */
export function relayConfiguration(encoder: string, ports: readonly string[], exportPath: string): string {
  const lines = [`encoder.order = [${JSON.stringify(encoder)}]`];
  for (let first = 0; first < ports.length; first += PORTS_PER_VM) {
    const own = ports.slice(first, first + PORTS_PER_VM);
    lines.push("[[vm]]", `name = "vm${first}"`, `ports = ${JSON.stringify(own)}`);
    const link = `${exportPath}-${first}`;
    if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync(exportPath, link);
    lines.push(`export = ${JSON.stringify(link)}`);
  }
  return `${lines.join("\n")}\n`;
}
