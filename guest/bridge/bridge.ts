/**
 * The bridge: what this guest shows, in any number of browsers.
 *
 * Theory of operation. A GStreamer pipeline, by default `virtgpusrc ! vsockenc ! appsink`, runs in this process
 * (gst.ts) while somebody watches. Its access units go to the viewer server (viewer/server), which the relay uses, too:
 * one encode serves all, each viewer has a bounded queue, who comes gets the present group of pictures or a key frame.
 * What the viewers need comes back by three ways: key frames as GStreamer's force-key-unit event, the bit rate as a
 * property of the encoder, pointer and keyboard through input devices of the kernel, if they are switched on.
 *
 * Nothing leaves out an access unit between encoder and viewer's queue. When this process is slow the appsink is full,
 * the encoder waits, and frames are left out before they are encoded, where they can be.
 */
import { hostname } from "node:os";
import type { Logger } from "pino";
import { Registry } from "prom-client";
import { packageVersion } from "../../common/package-root.ts";
import { StatusServer } from "../../common/status-server.ts";
import { VIEWER_PAGE } from "../../viewer/server/http/page-files.ts";
import { ViewerServer } from "../../viewer/server/viewer-server.ts";
import type { BridgeConfiguration } from "./configuration.ts";
import { loadGStreamer } from "./gst.ts";
import { InputDevices } from "./input/devices.ts";
import { PipelineSource } from "./pipeline-source.ts";
import { pipelineText } from "./pipeline-text.ts";

/** The only source of a bridge, in URLs. */
const SOURCE_ID = "screen";

export class Bridge {
  readonly #server: ViewerServer;
  readonly #source: PipelineSource;
  readonly #input: InputDevices | undefined;
  readonly #status: StatusServer | undefined;

  private constructor(
    server: ViewerServer,
    source: PipelineSource,
    input: InputDevices | undefined,
    status: StatusServer | undefined,
  ) {
    this.#server = server;
    this.#source = source;
    this.#input = input;
    this.#status = status;
  }

  /**
   * Listens for viewers; the pipeline starts with the first.
   *
   * @param page folder with the built page
   * @throws NativeAddonError, CaptureError, InputDeviceError, ViewerOptionsError
   */
  static async start(
    configuration: BridgeConfiguration,
    log: Logger,
    page: string = VIEWER_PAGE,
  ): Promise<Bridge> {
    loadGStreamer();
    const description = await pipelineText(configuration);
    log.info({ pipeline: description }, "the pipeline");
    const { title = hostname(), bitrate, input: inputOptions, status, viewer } = configuration;
    const input = inputOptions.enabled ? InputDevices.open(inputOptions.device, log) : undefined;
    const registry = new Registry();
    const source = new PipelineSource({ id: SOURCE_ID, title, description, input, log });
    const software = `vsockenc bridge ${packageVersion}`;
    try {
      const server = await ViewerServer.start({ options: viewer, page, software, registry, log });
      const range = { minKbps: bitrate.min_kbps, maxKbps: bitrate.max_kbps };
      server.add(source, bitrate.adapt ? { bitrate: range } : {});
      const statusServer = status.enabled
        ? new StatusServer(status.port, registry, () => source.health(), log)
        : undefined;
      return new Bridge(server, source, input, statusServer);
    } catch (error) {
      input?.close();
      throw error;
    }
  }

  /** What to open in a browser, with the token: on this machine, and on others where they are served. */
  addresses(): string[] {
    return this.#server.addresses();
  }

  /** Settles when nobody is connected and the pipeline has been freed. */
  async close(): Promise<void> {
    this.#status?.close();
    await this.#server.close();
    await this.#source.closed();
    this.#input?.close();
  }
}
