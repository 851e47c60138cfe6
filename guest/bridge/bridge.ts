/**
 * The bridge: this guest's screen in any number of browsers.
 *
 * Theory of operation. While there are viewers, a GStreamer pipeline, by default `virtgpusrc ! vsockenc ! appsink`, runs
 * in this process (gst.ts). Its access units go to the viewer server (viewer/server), which the relay uses, too: one
 * encode serves all viewers, each viewer has a bounded queue, and a new viewer gets the current group of pictures or a
 * key frame. In the other direction, key frames are requested by GStreamer's force-key-unit event, the bit rate is a
 * property of the encoder, and pointer and keyboard are input devices of the kernel, if they are enabled.
 *
 * Between encoder and viewers' queues no access unit is dropped. When this process is slow, the appsink is full, the
 * encoder waits, and frames are dropped before they are encoded.
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
import { InputDevices } from "./input.ts";
import { PipelineSource } from "./pipeline-source.ts";
import { pipelineText } from "./pipeline-text.ts";

export interface Bridge {
  /** URLs to open in a browser, with the token: on this machine, and on others if they are served. */
  addresses(): string[];
  /** Resolves when all viewers are disconnected and the pipeline has been freed. */
  close(): Promise<void>;
}

/**
 * Listens for viewers; the pipeline starts with the first.
 *
 * @param page folder with the built page
 * @throws NativeAddonError, CaptureError, InputDeviceError, ViewerOptionsError
 */
export async function startBridge(
  configuration: BridgeConfiguration,
  log: Logger,
  page: string = VIEWER_PAGE,
): Promise<Bridge> {
  loadGStreamer();
  const description = await pipelineText(configuration);
  log.info({ pipeline: description }, "pipeline");
  const { title = hostname(), bitrate, viewer } = configuration;
  const input = configuration.input.enabled ? InputDevices.open(configuration.input.device, log) : undefined;
  const registry = new Registry();
  const source = new PipelineSource(description, title, input, log);
  const software = `vsockenc bridge ${packageVersion}`;
  try {
    const server = await ViewerServer.start({ options: viewer, page, software, registry, log });
    const range = { minKbps: bitrate.min_kbps, maxKbps: bitrate.max_kbps };
    server.add(source, bitrate.adapt ? { bitrate: range } : {});
    const { enabled, port } = configuration.status;
    const status = enabled
      ? new StatusServer(
          port,
          () => registry.metrics(),
          () => source.health(),
          log,
        )
      : undefined;
    return {
      addresses: () => server.addresses(),
      close: async () => {
        status?.close();
        await server.close();
        await source.closed();
        input?.close();
      },
    };
  } catch (error) {
    input?.close();
    throw error;
  }
}
