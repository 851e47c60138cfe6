/**
 * The relay's interfaces to a viewer of its streams and heads; the command connects the two (cli/relay.ts). Guests notice a
 * viewer only by requests for key frames.
 */
import type { Logger } from "pino";
import type { CodecName } from "../../common/codec.ts";
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
  readonly metrics: RelayMetrics;
  readonly log: Logger;
}

export type OpenRelayViewer = (parts: RelayViewerParts) => Promise<RelayViewer>;
