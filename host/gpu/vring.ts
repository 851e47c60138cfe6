/**
 * One ring of the device as vhost-user drives it (QEMU docs/interop/vhost-user.rst, "Ring states"): set up piece by
 * piece, started by its kick descriptor, disabled or enabled, stopped by GET_VRING_BASE.
 *
 * Commands are carried out in order and answered at once. While one waits for readers to release pages, those behind it
 * stay in the ring. One turn takes the commands that were queued at its start, so a guest that queues without end cannot
 * occupy the event loop.
 */
import { Doorbell, DoorbellListener } from "../native/doorbell.ts";
import type { GuestMemory } from "../native/guest-memory.ts";
import { os, type Popped, type Virtqueue, type VirtqueueSetup } from "../native/os-addon.ts";
import { MAX_COMMAND_BYTES } from "./commands.ts";
import type { Outcome } from "./device.ts";
import type { GuestWarnings } from "./limits.ts";

/** SET_VRING_ADDR, in QEMU's virtual addresses. */
export type RingAddresses = Pick<VirtqueueSetup, "descriptors" | "available" | "used">;

/** The features of SET_FEATURES that concern rings. */
type RingFeatures = Pick<VirtqueueSetup, "eventIndex" | "indirect">;

/** Records everything that was taken from the ring. */
export interface RingObserver {
  /** @param room bytes that the driver left for the answer */
  command(command: Buffer, room: number, answer: Buffer): void;
  fault(reason: string): void;
}

/** A command that was carried out, whose response may have to wait for readers. */
interface HeldCommand {
  readonly popped: Chain;
  readonly response: Buffer;
}

type Chain = Extract<Popped, { kind: "chain" }>;

const NO_ANSWER = Buffer.alloc(0);

export class Vring {
  readonly #name: string;
  readonly #execute: (command: Buffer) => Outcome;
  readonly #warnings: GuestWarnings;
  readonly #observer: RingObserver | undefined;
  #size = 0;
  #base = 0;
  #addresses: RingAddresses | undefined;
  #kick: DoorbellListener | undefined;
  #call: Doorbell | undefined;
  #enabled = false;
  #wasStarted = false;
  #queue: Virtqueue | undefined;
  #held: HeldCommand | undefined;
  /** Called when the commands that were queued at the time of the call have been carried out. */
  #settled: (() => void)[] = [];
  #continuation: NodeJS.Immediate | undefined;

  /** @param execute carries out one command; must not throw */
  constructor(
    name: string,
    execute: (command: Buffer) => Outcome,
    warnings: GuestWarnings,
    observer?: RingObserver,
  ) {
    this.#name = name;
    this.#execute = execute;
    this.#warnings = warnings;
    this.#observer = observer;
  }

  setSize(entries: number): void {
    this.#size = entries;
  }

  setBase(base: number): void {
    this.#base = base;
  }

  setAddresses(addresses: RingAddresses): void {
    this.#addresses = addresses;
  }

  /** @param fd undefined: the front end polls and wants no calls */
  setCall(fd: number | undefined): void {
    this.#call?.close();
    this.#call = fd === undefined ? undefined : new Doorbell(fd);
  }

  setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    // Kicks that came before had no effect.
    this.drain();
  }

  /**
   * SET_VRING_KICK: takes the descriptor over and starts the ring if it is not running.
   *
   * @throws Error if the rings cannot be used
   */
  start(kick: number, memory: GuestMemory | undefined, features: RingFeatures): void {
    this.#kick?.close();
    this.#kick = new DoorbellListener(kick, () => this.drain());
    if (this.#queue !== undefined) return;
    if (memory === undefined || this.#addresses === undefined) {
      throw new Error(`the ${this.#name} ring was started before its memory and addresses were set`);
    }
    this.#queue = new os.Virtqueue(memory, {
      size: this.#size,
      ...this.#addresses,
      base: this.#base,
      ...features,
    });
    this.#wasStarted = true;
    this.drain();
  }

  /** SET_MEM_TABLE while the ring runs. @throws Error if the rings are not in it; the ring is stopped then */
  rebind(memory: GuestMemory): void {
    try {
      this.#queue?.rebind(memory);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  /** GET_VRING_BASE: a held command is answered at once. Returns the base for the next start. */
  stop(): number {
    this.#finishHeld();
    this.#kick?.close();
    this.#kick = undefined;
    if (this.#queue !== undefined) {
      this.#base = this.#queue.nextAvailable();
      this.#queue.close();
      this.#queue = undefined;
    }
    this.#runSettled();
    return this.#base;
  }

  /** RESET_DEVICE: stopped and disabled, without addresses. */
  reset(): void {
    this.stop();
    this.#addresses = undefined;
    this.#base = 0;
    this.#enabled = false;
    this.#wasStarted = false;
  }

  /** Ends everything. */
  close(): void {
    this.reset();
    clearImmediate(this.#continuation);
    this.setCall(undefined);
  }

  /** Whether a driver has used the ring since the last reset; also true while the VM is stopped. */
  get wasStarted(): boolean {
    return this.#wasStarted;
  }

  /** Calls `listener` when every command now in the ring has been carried out; at once if the ring is stopped. */
  whenSettled(listener: () => void): void {
    this.#settled.push(listener);
    this.drain();
  }

  /** Carries out the queued commands. */
  drain(): void {
    if (this.#held !== undefined) return;
    const queue = this.#queue;
    if (queue === undefined || !this.#enabled) {
      this.#runSettled();
      return;
    }
    for (let waiting = queue.pending(); waiting > 0 && this.#held === undefined; waiting--) {
      const popped = queue.pop(MAX_COMMAND_BYTES);
      if (popped === null || !this.#take(queue, popped)) break;
    }
    this.#notify(queue);
    if (this.#held !== undefined) return;
    this.#runSettled();
    if (this.#queue === queue && queue.enableKicks()) this.#continueLater();
  }

  /** False if nothing more can come from the ring. */
  #take(queue: Virtqueue, popped: Popped): boolean {
    if (popped.kind !== "chain") {
      const { kind, reason } = popped;
      this.#observer?.fault(reason);
      const text = {
        broken: "the guest broke the ring; it is unusable until the device is reset",
        fault: "rejected an invalid descriptor chain",
      }[kind];
      this.#warnings.warn({ ring: this.#name, reason }, text);
      if (kind === "fault") queue.push(popped.head, NO_ANSWER);
      return kind === "fault";
    }
    const { response, released } = this.#execute(popped.readable);
    const held = { popped, response };
    if (released === undefined) {
      this.#push(queue, held);
      return true;
    }
    this.#held = held;
    void released.then(() => {
      if (this.#held === held) this.#finishHeld();
    });
    return true;
  }

  #finishHeld(): void {
    const held = this.#held;
    const queue = this.#queue;
    this.#held = undefined;
    if (held === undefined || queue === undefined) return;
    this.#push(queue, held);
    this.#notify(queue);
    this.#continueLater();
  }

  #push(queue: Virtqueue, { popped: { head, readable, writableLength }, response }: HeldCommand): void {
    this.#observer?.command(readable, writableLength, response);
    if (queue.push(head, response)) return;
    this.#warnings.warn({ ring: this.#name }, "the buffer for a response is outside the guest's memory");
  }

  #notify(queue: Virtqueue): void {
    if (queue.takeNotification()) this.#call?.ring();
  }

  /** Lets the event loop handle other events first. */
  #continueLater(): void {
    this.#continuation ??= setImmediate(() => {
      this.#continuation = undefined;
      this.drain();
    });
  }

  #runSettled(): void {
    for (const listener of this.#settled.splice(0)) listener();
  }
}
