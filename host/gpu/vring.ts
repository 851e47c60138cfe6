/**
 * One ring of the device as vhost-user drives it (QEMU docs/interop/vhost-user.rst, "Ring states"): set up piece by
 * piece, started by its kick descriptor, disabled or enabled, stopped by GET_VRING_BASE.
 *
 * Commands are carried out in order and answered at once. While one waits for readers to release pages, those behind it
 * stay in the ring. They are carried out in turns of RING_TURN_MS, so a guest cannot occupy the event loop: messages of
 * the front end and of relays are handled between two turns. A turn ends between two commands, and those that are left
 * stay in the ring, so the ring can be stopped there.
 */
import type { Turns, TurnTaker } from "../../common/turns.ts";
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

/** A caller of whenSettled. */
interface Waiter {
  /** Number of commands, of all ever carried out, after which it is called. */
  readonly commands: number;
  readonly listener: () => void;
}

export class Vring implements TurnTaker {
  readonly #name: string;
  readonly #execute: (command: Buffer) => Outcome;
  readonly #turns: Turns;
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
  /** Chains given back, of all starts. */
  #commands = 0;
  /** In the order of their commands. */
  readonly #waiters: Waiter[] = [];

  /** @param execute carries out one command; must not throw */
  constructor(
    name: string,
    execute: (command: Buffer) => Outcome,
    turns: Turns,
    warnings: GuestWarnings,
    observer?: RingObserver,
  ) {
    this.#name = name;
    this.#execute = execute;
    this.#turns = turns;
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
    this.#turns.run(this);
  }

  /**
   * SET_VRING_KICK: takes the descriptor over and starts the ring if it is not running.
   *
   * @throws Error if the rings cannot be used
   */
  start(kick: number, memory: GuestMemory | undefined, features: RingFeatures): void {
    this.#kick?.close();
    this.#kick = new DoorbellListener(kick, () => this.#turns.run(this));
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
    this.#turns.run(this);
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

  /**
   * GET_VRING_BASE: a held command is answered at once; those that are still in the ring stay there.
   *
   * @returns the base for the next start
   */
  stop(): number {
    this.#finishHeld();
    this.#kick?.close();
    this.#kick = undefined;
    if (this.#queue !== undefined) {
      this.#base = this.#queue.nextAvailable();
      this.#queue.close();
      this.#queue = undefined;
    }
    this.#callWaiters();
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
    this.setCall(undefined);
  }

  /** Whether a driver has used the ring since the last reset; also true while the VM is stopped. */
  get wasStarted(): boolean {
    return this.#wasStarted;
  }

  /** Calls `listener` when every command now in the ring has been carried out; at once if the ring is stopped. */
  whenSettled(listener: () => void): void {
    const held = this.#held === undefined ? 0 : 1;
    const commands = this.#commands + held + (this.#queue?.pending() ?? 0);
    this.#waiters.push({ commands, listener });
    this.#turns.run(this);
  }

  /** Carries out one command. */
  step(): boolean {
    if (this.#held !== undefined) return false;
    const queue = this.#queue;
    if (queue === undefined || !this.#enabled) {
      this.#callWaiters();
      return false;
    }
    const popped = queue.pop(MAX_COMMAND_BYTES);
    if (popped !== null) {
      this.#take(queue, popped);
      return true;
    }
    this.#callWaiters();
    return this.#queue === queue && queue.enableKicks();
  }

  afterTurn(): void {
    if (this.#queue !== undefined) this.#notify(this.#queue);
  }

  #take(queue: Virtqueue, popped: Popped): void {
    if (popped.kind !== "chain") {
      const { kind, reason } = popped;
      this.#observer?.fault(reason);
      const text = {
        broken: "the guest broke the ring; it is unusable until the device is reset",
        fault: "rejected an invalid descriptor chain",
      }[kind];
      this.#warnings.warn({ ring: this.#name, reason }, text);
      if (kind === "fault") this.#giveBack(queue, popped.head, NO_ANSWER);
      return;
    }
    const { response, released } = this.#execute(popped.readable);
    const held = { popped, response };
    if (released === undefined) {
      this.#answer(queue, held);
      return;
    }
    this.#held = held;
    void released.then(() => {
      if (this.#held !== held) return;
      this.#finishHeld();
      this.#turns.run(this);
    });
  }

  #finishHeld(): void {
    const held = this.#held;
    const queue = this.#queue;
    this.#held = undefined;
    if (held === undefined || queue === undefined) return;
    this.#answer(queue, held);
    this.#notify(queue);
  }

  #answer(queue: Virtqueue, { popped: { head, readable, writableLength }, response }: HeldCommand): void {
    this.#observer?.command(readable, writableLength, response);
    if (this.#giveBack(queue, head, response)) return;
    this.#warnings.warn({ ring: this.#name }, "the buffer for a response is outside the guest's memory");
  }

  #giveBack(queue: Virtqueue, head: number, answer: Buffer): boolean {
    const stored = queue.push(head, answer);
    this.#commands++;
    this.#callWaiters(this.#commands);
    return stored;
  }

  #notify(queue: Virtqueue): void {
    if (queue.takeNotification()) this.#call?.ring();
  }

  /** Calls those that wait for no more than this number of commands; by default all. */
  #callWaiters(commands = Number.POSITIVE_INFINITY): void {
    const later = this.#waiters.findIndex((waiter) => waiter.commands > commands);
    const due = this.#waiters.splice(0, later < 0 ? this.#waiters.length : later);
    for (const { listener } of due) listener();
  }
}
