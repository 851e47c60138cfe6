/** What an attacker can reach: the sockets of the hostile VM, the viewer and the status page. */
import type { StreamSize } from "../support/guest.ts";

export interface Target {
  /** Chardevs of the hostile VM's ports: the relay connects, so an attacker listens. */
  readonly ports: readonly string[];
  /** Its export socket, where an attacker listens, too. */
  readonly export: string;
  /** Listeners for its clients, of our protocol and of Helix's. */
  readonly listen: string;
  readonly hxfr: string;
  /** The GPU process of another VM of the attacker's, and its export socket. */
  readonly gpu: string;
  /** The viewer's address with its token. */
  readonly viewer: string;
  readonly statusPort: number;
}

/** Of streams. */
export const SIZE: StreamSize = { width: 1280, height: 720 };
