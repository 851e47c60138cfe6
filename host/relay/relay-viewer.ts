/**
 * The relay's interfaces to a viewer of its streams and heads; the command connects them (cli/relay.ts). Guests notice a
 * viewer only by requests for key frames.
 */
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import type { CodecName } from "../../common/codec.ts";
import type { ViewerSource } from "../../viewer/server/source.ts";
import type { SourceOptions } from "../../viewer/server/viewer-server.ts";
import type { VmConfiguration } from "../config.ts";
import type { EncodedPacket, EncoderBackend, EncoderDescription } from "../encoders/encoder.ts";
import type { VmResources } from "../export/vm-resources.ts";
import type { PictureTier } from "../native/picture.ts";
import type { RelayMetrics } from "./metrics.ts";

export interface ObservedPacket {
  /** Shared with the guest's answer: read-only. */
  readonly packet: EncodedPacket;
  readonly ptsNs: number;
  readonly tier: PictureTier;
  /** How long the exporter took to copy it; 0 for other tiers than resource-read. */
  readonly readUs: number;
  readonly codec: CodecName;
  readonly encoder: EncoderDescription;
}

export interface StreamObserver {
  /** @param requestKeyFrame makes the guest's next frame a key frame; does nothing after the end */
  onOpen(requestKeyFrame: () => void): void;
  onPacket(observed: ObservedPacket): void;
  onDropped(reason: "flushed" | "encoder"): void;
  onEnd(): void;
}

/** Shows the streams and heads of VMs. */
export interface VmViewer {
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
}

/** Where sources are offered to viewers. */
export interface SourceOffers {
  /** @throws ViewerSourceError for a duplicate or invalid id, or too many sources */
  add(source: ViewerSource, options?: SourceOptions): void;
  /** Removes a source and stops it. */
  remove(id: string): void;
}

/** Parts of the relay, or of a worker, that a VmViewer uses. */
export interface VmViewerParts {
  readonly backend: EncoderBackend;
  readonly metrics: RelayMetrics;
  readonly log: Logger;
}

/** The viewer for browsers. */
export interface RelayViewer {
  /** To open in a browser, with the token; undefined while its port is taken. */
  address(): string | undefined;
  readonly sources: SourceOffers;
  /** Shows what this process encodes. */
  show(parts: VmViewerParts): VmViewer;
  close(): Promise<void>;
}

/** Opens the viewer, with its metrics in `registry`; logs its address as soon as it listens. */
export type OpenRelayViewer = (registry: Registry, log: Logger) => Promise<RelayViewer>;
