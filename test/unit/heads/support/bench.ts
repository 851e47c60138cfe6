/** A VM for viewers: a real GPU process with a scripted guest, a real relay with its viewer, real WebSockets. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { parseConfiguration } from "../../../../host/config.ts";
import { viewerOf } from "../../../../host/heads/browser-viewer.ts";
import { Relay } from "../../../../host/relay/relay.ts";
import { VIRTIO_BGRX } from "../../../../proto/formats.ts";
import { freePort } from "../../../support/free-port.ts";
import { pageText } from "../../../support/page-text.ts";
import { ConnectedGuest } from "../../../support/relay-guest.ts";
import { attach, FrontEnd, gpuCommand } from "../../gpu/front-end.ts";
import { TestViewer } from "../../viewer/support/test-viewer.ts";

export const HEAD = "desk/head0";
export const PORT = "desk/port0";
export const SIZE = { width: 320, height: 240 };
const PIXEL_BYTES = 4;
const PAGE = 4096;

const silent = pino({ level: "silent" });

/** Where the picture of a resource is in the guest: every other page from here on, 1 MiB a resource. */
const firstPage = (id: number): number => id << 20;

export interface BenchOptions {
  readonly rate?: number;
  /** More lines of the configuration's VM. */
  readonly more?: string;
  readonly log?: pino.Logger;
}

export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), "vsockenc-viewer-"));
  gpu: FrontEnd | undefined;
  #relay: Relay | undefined;
  #statusPort = 0;
  readonly #viewers: TestViewer[] = [];
  readonly #guests: ConnectedGuest[] = [];

  async startGpu(): Promise<FrontEnd> {
    const gpu = FrontEnd.start({ exportPath: join(this.folder, "export"), heads: 1 });
    this.gpu = gpu;
    await gpu.negotiate();
    await gpu.startDevice();
    return gpu;
  }

  async stopGpu(): Promise<void> {
    const gpu = this.gpu;
    this.gpu = undefined;
    await gpu?.close();
  }

  async startRelay({ rate = 60, more = "", log = silent }: BenchOptions = {}): Promise<Relay> {
    this.#statusPort = await freePort();
    const text = `
      status.port = ${this.#statusPort}
      encoder.order = ["libx264"]
      viewer = { enabled = true, port = 0 }
      [[vm]]
      name = "desk"
      chardev = "client"
      ports = ["${join(this.folder, "p")}"]
      export = "${join(this.folder, "export")}"
      view = { heads = true, rate = ${rate} }
      ${more}`;
    const configuration = parseConfiguration(text, "test");
    this.#relay = await Relay.start(configuration, log, viewerOf(configuration, this.#page()));
    return this.#relay;
  }

  #page(): string {
    const page = mkdtempSync(join(this.folder, "page-"));
    writeFileSync(join(page, "index.html"), "<!doctype html><title>page</title>");
    return page;
  }

  async stop(): Promise<void> {
    for (const { socket } of this.#viewers) socket.terminate();
    for (const { socket } of this.#guests) socket.destroy();
    this.#relay?.stop();
    await this.stopGpu();
    rmSync(this.folder, { recursive: true });
  }

  async viewer(): Promise<TestViewer> {
    const viewer = await TestViewer.connect(this.#relay?.viewerAddress ?? "");
    this.#viewers.push(viewer);
    return viewer;
  }

  /** A guest's program at the VM's port, with an open session. */
  async guest(where: string | number = join(this.folder, "p"), resources = true): Promise<ConnectedGuest> {
    const guest = new ConnectedGuest(where);
    this.#guests.push(guest);
    await guest.open(resources);
    return guest;
  }

  /** The relay's numbers, as Prometheus gets them. */
  async metrics(): Promise<string> {
    return await pageText(`http://127.0.0.1:${this.#statusPort}/metrics`);
  }

  /** Makes a resource in scattered pages, which show `picture`. */
  async resource(id: number, picture: TestPicture, format = VIRTIO_BGRX): Promise<void> {
    const { width, height } = picture;
    await this.command(gpuCommand(0x101, [id, format, width, height]));
    this.draw(id, picture);
    const pages = Math.ceil((width * height * PIXEL_BYTES) / PAGE);
    await this.command(
      attach(
        id,
        Array.from({ length: pages }, (_, page) => [firstPage(id) + 2 * page * PAGE, PAGE] as const),
      ),
    );
  }

  /** Draws into the guest's pages; the device is not notified. */
  draw(id: number, { pixels }: TestPicture): void {
    for (let from = 0, page = 0; from < pixels.length; from += PAGE, page += 1) {
      this.gpu?.write(firstPage(id) + 2 * page * PAGE, pixels.subarray(from, from + PAGE));
    }
  }

  /** A command of the guest's driver, which the device must accept. */
  async command(command: Buffer): Promise<void> {
    const answer = await this.gpu?.answer(command);
    if (answer !== 0x1100) throw new Error(`the device answered 0x${answer?.toString(16)}`);
  }
}

/** Of four bytes a pixel. */
export interface TestPicture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Buffer;
}

/** Slopes in two channels, which survive lossy coding, and `shade` in the third, which identifies the picture. */
export function slopes(shade: number, { width, height } = SIZE): TestPicture {
  const pixels = Buffer.alloc(width * height * PIXEL_BYTES);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      pixels.writeUInt32LE(
        (shade << 16) | (Math.floor((y * 255) / height) << 8) | Math.floor((x * 255) / width),
        (y * width + x) * PIXEL_BYTES,
      );
    }
  }
  return { width, height, pixels };
}
