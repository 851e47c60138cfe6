/**
 * The seam between links, which accept peers, and what serves the peers of one VM: sessions in this process
 * (vm-server.ts) or in a worker's (host/workers).
 */
import type { ListenProtocol } from "../config.ts";
import type { MetricReport } from "./metrics.ts";

/** Where a peer has connected: a VM's port, or a [[listen]]. */
export type PeerLink =
  | { readonly kind: "port"; readonly index: number }
  | {
      readonly kind: "listen";
      readonly index: number;
      readonly address: string;
      readonly protocol: ListenProtocol;
    };

/** A guest, a program, or QEMU's chardev. */
export interface Peer {
  readonly link: PeerLink;
  /** For logs, e.g. "user 0". */
  readonly name: string;
}

export interface ServedPeer {
  /** Says goodbye and disconnects; `onGone` follows. */
  close(): void;
}

/** Serves the peers of one VM, or of one listener that belongs to none. */
export interface VmHost {
  /**
   * Takes a connected socket over.
   *
   * @param onGone called once, when the connection is over; not from within the call
   */
  serve(fd: number, peer: Peer, onGone: () => void): ServedPeer;
  /** Whether the VM's exporter answers; undefined for one without. */
  exporterUp(): boolean | undefined;
  /** Shows viewers of the VM's heads what is wrong with it; undefined: nothing is. */
  showFault(fault: string | undefined): void;
  /** Metrics that the relay's own registry does not have. */
  metrics(): Promise<readonly MetricReport[]>;
  /** Says goodbye to every peer and ends. */
  close(): void;
}
