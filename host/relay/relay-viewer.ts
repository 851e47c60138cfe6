/** The relay's seam to whoever shows its streams and heads to people: the command composes the two (cli/relay.ts). */
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import type { VmConfiguration } from "../config.ts";
import type { EncoderBackend } from "../encoders/encoder.ts";
import type { VmResources } from "../export/vm-resources.ts";
import type { StreamObserver } from "./stream-observer.ts";

export interface RelayViewer {
  /** What to open in a browser, with the token. */
  readonly address: string;
  /** The stream of a VM's port, offered whether or not a guest sends one. */
  port(vm: string, index: number): StreamObserver;
  /**
   * The stream of a client of a [[listen]], offered as long as its session is open.
   *
   * @param vm "" where the listener belongs to none
   * @param name of the listener, for people
   */
  client(vm: string, listener: number, name: string): StreamObserver;
  /** The VM's heads, each as soon as its exporter has announced it. */
  heads(vm: VmConfiguration, resources: VmResources): void;
  close(): Promise<void>;
}

/** What the relay gives the viewer that it opens. */
export interface RelayViewerParts {
  readonly backend: EncoderBackend;
  readonly registry: Registry;
  readonly log: Logger;
}

export type OpenRelayViewer = (parts: RelayViewerParts) => Promise<RelayViewer>;
