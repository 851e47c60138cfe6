/** `vsockenc bridge` in a test guest, and what its input devices do there. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EV, type InputEvent } from "../../../guest/bridge/input.ts";
import { until } from "../../support/until.ts";
import type { Job } from "../../vm/guest-agent.ts";
import type { Vm } from "../../vm/vm.ts";

/** Between two attempts to reach the terminal; more attempts on a slow machine do no harm. */
const ATTEMPT_MS = 3000;

/** A job whose output is read while it runs. */
class Talking {
  readonly job: Job;
  stdout = Buffer.alloc(0);
  stderr = "";
  #ended = false;

  constructor(vm: Vm, command: string) {
    this.job = vm.start(command, {
      onOutput: (stream, data) => {
        if (stream === "stdout") this.stdout = Buffer.concat([this.stdout, data]);
        else this.stderr += data.toString();
      },
    });
    const end = (): void => {
      this.#ended = true;
    };
    this.job.done.then(end, end);
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const outcome = await until(() => condition() || this.#ended, what).catch(
      ({ message }: Error) => message,
    );
    if (outcome === true && condition()) return;
    throw new Error(`no ${what} (${outcome}); output of "${this.job.command}": ${this.stdout}${this.stderr}`);
  }

  /** @returns its exit status */
  async end(signal: "KILL" | "TERM"): Promise<number> {
    this.job.signal(signal);
    return (await this.job.done).status;
  }
}

export class GuestBridge extends Talking {
  static readonly #running = new Set<GuestBridge>();

  /**
   * Settles when it listens.
   *
   * @param configuration its file, as the guest sees it
   */
  static async start(vm: Vm, configuration: string): Promise<GuestBridge> {
    const bridge = new GuestBridge(vm, `exec vsockenc bridge --config ${configuration}`);
    GuestBridge.#running.add(bridge);
    await bridge.until(() => bridge.addresses.length > 0, "addresses of the bridge");
    return bridge;
  }

  /** Ends those that a test which failed has left. */
  static async endAll(): Promise<void> {
    await Promise.all([...GuestBridge.#running].map((bridge) => bridge.end("KILL")));
  }

  /** As it has printed them. */
  get addresses(): string[] {
    return this.stdout.toString().match(/^http:.*$/gm) ?? [];
  }

  override end(signal: "KILL" | "TERM"): Promise<number> {
    GuestBridge.#running.delete(this);
    return super.end(signal);
  }
}

/** The input devices of the guest's kernel, as text. */
export async function inputDevices(vm: Vm): Promise<string> {
  return (await vm.run("cat /proc/bus/input/devices")).stdout;
}

/** Of a 64-bit machine; the first 16 are a time. */
const EVENT_BYTES = 24;

/** Reads an input device in the guest, as a desktop does. */
export class EventReader extends Talking {
  /** Settles when no further event is missed. @param name of the device */
  static async open(vm: Vm, name: string): Promise<EventReader> {
    const named = new RegExp(`Name="${name}"[^]*?Handlers=.*(event\\d+)`).exec(await inputDevices(vm));
    if (named === null) throw new Error(`the guest has no ${name}`);
    const reader = new EventReader(vm, `exec 3< /dev/input/${named[1]}; echo open >&2; exec cat <&3`);
    await reader.until(() => reader.stderr !== "", `open ${name}`);
    return reader;
  }

  /** Those of these types so far. */
  events(...types: readonly number[]): InputEvent[] {
    const bytes = this.stdout;
    return Array.from({ length: Math.floor(bytes.length / EVENT_BYTES) }, (_, index) => ({
      type: bytes.readUInt16LE(index * EVENT_BYTES + 16),
      code: bytes.readUInt16LE(index * EVENT_BYTES + 18),
      value: bytes.readInt32LE(index * EVENT_BYTES + 20),
    })).filter(({ type }) => types.includes(type));
  }

  /** Code and value of the events of a type, when there are so many. */
  async changes(type: number, count: number): Promise<[code: number, value: number][]> {
    await until(() => this.events(type).length >= count, `${count} events`).catch((error: Error) => {
      throw new Error(`${error.message}; there were ${JSON.stringify(this.events(EV.KEY, EV.REL, EV.ABS))}`);
    });
    return this.events(type).map(({ code, value }) => [code, value]);
  }
}

/** A terminal over the guest's whole screen, which keeps a line that is typed there. */
export class Terminal {
  readonly #job: Job;
  readonly #folder: string;

  /** @param folder the guest's /in and /out */
  constructor(vm: Vm, folder: string) {
    this.#folder = folder;
    const script = [
      "#!/bin/sh",
      "read -r line; echo >/out/awake",
      'line=; until [ -n "$line" ]; do read -r line; done',
      'echo "$line" >/out/line; echo "read: $line"',
      "exec sleep 1000",
    ];
    writeFileSync(join(folder, "shell"), `${script.join("\n")}\n`, { mode: 0o755 });
    this.#job = vm.start("WAYLAND_DISPLAY=wayland-1 exec weston-terminal --fullscreen --shell=/in/shell");
  }

  /**
   * Makes the terminal read a line. No event reports when it is shown and has the keyboard, so attempts are repeated.
   *
   * @returns the number of attempts
   */
  async wake(attempt: () => Promise<void>): Promise<number> {
    const awake = (): boolean => existsSync(join(this.#folder, "awake"));
    let attempts = 0;
    await until(async () => {
      if (awake()) return true;
      await attempt();
      attempts += 1;
      const since = performance.now();
      await until(() => awake() || performance.now() - since > ATTEMPT_MS, "the terminal");
      return awake();
    }, "the terminal's first line");
    return attempts;
  }

  get line(): string {
    const file = join(this.#folder, "line");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  async end(): Promise<void> {
    this.#job.signal("KILL");
    await this.#job.done;
  }
}
