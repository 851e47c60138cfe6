/** A relay in this process with an exporter and guests, for tests of its sessions. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, pino } from "pino";
import { afterEach, beforeEach, expect } from "vitest";
import { type Configuration, parseConfiguration } from "../../host/config.ts";
import type { EncoderBackend } from "../../host/encoders/encoder.ts";
import { type Applied, type Isolate, Relay } from "../../host/relay/relay.ts";
import { MemfdExporter } from "./memfd/memfd-exporter.ts";
import { ConnectedGuest, HEIGHT, PICTURE_BYTES, WIDTH } from "./relay-guest.ts";
import { until } from "./until.ts";

const silent = pino({ level: "silent" });

interface StartOptions {
  readonly encoder?: string;
  readonly log?: Logger | undefined;
  /** Default: the relay serves its peers itself. */
  readonly isolate?: Isolate;
  /** In the place of the encoder. */
  readonly backend?: EncoderBackend;
}

function configurationOf(text: string, encoder: string): Configuration {
  const status = text.includes("status.") ? "" : "status.enabled = false\n";
  return parseConfiguration(`encoder.order = ["${encoder}"]\n${status}${text}`, "test");
}

class RelayBench {
  folder = "";
  #relay: Relay | undefined;
  #exporter: MemfdExporter | undefined;
  readonly #guests: ConnectedGuest[] = [];

  open(): void {
    this.folder = mkdtempSync(join(tmpdir(), "vsockenc-relay-"));
  }

  close(): void {
    for (const guest of this.#guests.splice(0)) guest.socket.destroy();
    this.stop();
    this.closeExporter();
    rmSync(this.folder, { recursive: true });
  }

  /** A path in the folder of the test; `e` is the exporter's, `l` the guests'. */
  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts a relay, without a status page unless the configuration names it. */
  async start(text: string, options: StartOptions = {}): Promise<void> {
    const { encoder = "null", log = silent, isolate, backend } = options;
    const configuration = configurationOf(text, encoder);
    this.#relay = await Relay.start(configuration, log, undefined, isolate, backend);
  }

  /** Changes the relay's configuration. */
  async apply(text: string): Promise<Applied | undefined> {
    return await this.#relay?.apply(configurationOf(text, "null"));
  }

  /** Starts a relay that listens at `l`, for guests of a VM with an exporter or of none. */
  async listen(bound: boolean, encoder = "null", backend?: EncoderBackend): Promise<void> {
    if (bound) expect(this.exporter.held).toBe(0);
    const vm = bound ? `[[vm]]\nname = "a"\nexport = "${this.path("e")}"\n` : "";
    const listen = `[[listen]]\naddress = "unix:${this.path("l")}"\n${bound ? 'vm = "a"' : ""}`;
    await this.start(vm + listen, { encoder, ...(backend === undefined ? {} : { backend }) });
  }

  stop(): void {
    this.#relay?.stop();
    this.#relay = undefined;
  }

  /** The exporter, which opens with its first use. */
  get exporter(): MemfdExporter {
    this.#exporter ??= new MemfdExporter({ path: this.path("e"), bytes: 8 * PICTURE_BYTES }, silent);
    return this.#exporter;
  }

  closeExporter(): void {
    this.#exporter?.close();
    this.#exporter = undefined;
  }

  /** A resource for one picture; with a grey level, its pages are shuffled. */
  resource(id: number, grey?: number): void {
    const placement = grey === undefined ? "contiguous" : "scattered";
    this.exporter.create(id, { width: WIDTH, height: HEIGHT, placement });
    this.exporter.write(id, Buffer.alloc(PICTURE_BYTES, grey));
  }

  /** Connects a guest. */
  guest(where: string | number = this.path("l")): ConnectedGuest {
    const guest = new ConnectedGuest(where);
    this.#guests.push(guest);
    return guest;
  }

  /** Connects a guest and opens its session. */
  async opened(resources = true, where: string | number = this.path("l")): Promise<ConnectedGuest> {
    const guest = this.guest(where);
    await guest.open(resources);
    return guest;
  }

  /** A guest with a configuration, and with resource 1 as buffer 0. */
  async streaming(): Promise<ConnectedGuest> {
    this.resource(1);
    const guest = await this.opened();
    guest.configure(1);
    guest.attach(0, 1);
    return guest;
  }

  /** Connects repeatedly until the relay accepts a client. */
  async admitted(path: string): Promise<void> {
    await until(async () => {
      const client = this.guest(path);
      client.hello();
      await until(() => client.closed || client.all("welcome").length > 0, "an answer");
      return !client.closed;
    }, "a client that is accepted");
  }
}

/** A bench for each test of the file or describe block that calls this. */
export function relayBench(): RelayBench {
  const bench = new RelayBench();
  beforeEach(() => bench.open());
  afterEach(() => bench.close());
  return bench;
}
