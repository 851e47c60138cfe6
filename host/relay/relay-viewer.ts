/** The relay's interface to a viewer of its streams and heads; the command connects the two (cli/relay.ts). */
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import type { VmConfiguration } from "../config.ts";
import type { EncoderBackend } from "../encoders/encoder.ts";
import type { VmResources } from "../export/vm-resources.ts";
import type { StreamObserver } from "./stream-observer.ts";

export interface RelayViewer {
  /** To open in a browser, with the token. */
  readonly address: string;
  /** The stream of a VM's port, offered whether or not a guest is streaming. */
  port(vm: string, index: number): StreamObserver;
  /**
   * The stream of a client of a [[listen]], offered while its session is open.
   *
   * @param vm "" if the listener belongs to none
   * @param name of the listener, for display
   */
  client(vm: string, listener: number, name: string): StreamObserver;
  /** The VM's heads, each once its exporter has announced it. */
  heads(vm: VmConfiguration, resources: VmResources): void;
  close(): Promise<void>;
}

/** Parts of the relay that a viewer uses. */
export interface RelayViewerParts {
  readonly backend: EncoderBackend;
  readonly registry: Registry;
  readonly log: Logger;
}

export type OpenRelayViewer = (parts: RelayViewerParts) => Promise<RelayViewer>;
