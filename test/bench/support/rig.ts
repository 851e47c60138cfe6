/**
 * A relay as in production, i.e. the built command in a process of its own, with a memfd exporter and a guest on each of
 * its ports.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { packageRoot } from "../../../common/package-root.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { SupervisedProcess } from "../../vm/child.ts";
import { onLastCore } from "./cores.ts";
import { BenchGuest, type StreamSize } from "./guest.ts";
import { scrollingText } from "./pixels.ts";

const PORTS_PER_VM = 4;
/** Pictures in rotation. */
const PICTURES = 8;

export interface RigOptions {
  /** Name in the relay's encoder.order. */
  readonly encoder: string;
  /** Streams that can be open at the same time. */
  readonly guests?: number;
  /** Bytes for pictures. */
  readonly memory: number;
  /** Puts the relay on the last core (cores.ts). */
  readonly pinned?: boolean;
}

export interface PictureOptions extends StreamSize {
  /** Whether to draw them; the null encoder reads no pixel. */
  readonly drawn: boolean;
}

export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), "vsockenc-bench-"));
  readonly relay: SupervisedProcess;
  readonly guests: readonly BenchGuest[];
  readonly exporter: MemfdExporter;
  #nextResource = 1;

  constructor({ encoder, guests = 1, memory, pinned = false }: RigOptions) {
    const exportPath = join(this.folder, "export");
    this.exporter = new MemfdExporter({ path: exportPath, bytes: memory }, pino({ level: "silent" }));
    const ports = Array.from({ length: guests }, (_, index) => join(this.folder, `port${index}`));
    this.guests = ports.map((path) => new BenchGuest(path));
    const config = join(this.folder, "relay.toml");
    writeFileSync(config, relayConfiguration(encoder, ports, exportPath));
    this.relay = relayProcess(config, pinned);
    this.relay.start();
  }

  /** The relay's process id. */
  get pid(): number {
    if (this.relay.pid === undefined) throw new Error(`the relay has ended: ${this.relay.log}`);
    return this.relay.pid;
  }

  get guest(): BenchGuest {
    const [guest] = this.guests;
    if (guest === undefined) throw new Error("the rig has no guest");
    return guest;
  }

  /** Creates resources for a stream. @returns their ids */
  pictures({ width, height, drawn }: PictureOptions): number[] {
    const pages = drawn ? scrollingText(width, height, PICTURES) : undefined;
    return Array.from({ length: PICTURES }, () => {
      const id = this.#nextResource++;
      this.exporter.create(id, { width, height });
      const page = pages?.next();
      if (page !== undefined && !page.done) this.exporter.write(id, page.value);
      return id;
    });
  }

  async stop(): Promise<void> {
    for (const guest of this.guests) guest.close();
    await this.relay.stop();
    this.exporter.close();
    rmSync(this.folder, { recursive: true });
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

/** A configuration that serves `ports`, all from one exporter. */
export function relayConfiguration(encoder: string, ports: readonly string[], exportPath: string): string {
  const lines = [`encoder.order = [${JSON.stringify(encoder)}]`];
  for (let first = 0; first < ports.length; first += PORTS_PER_VM) {
    const own = ports.slice(first, first + PORTS_PER_VM);
    lines.push("[[vm]]", `name = "vm${first}"`, `ports = ${JSON.stringify(own)}`);
    lines.push(`export = ${JSON.stringify(exportPath)}`);
  }
  return `${lines.join("\n")}\n`;
}
