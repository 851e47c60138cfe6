/**
 * The host's side of guest/agent: runs commands in the guest, several at once, over any number of guest boots.
 *
 * Orders and notices are short lines over a virtserialport; a command's text and output are files in a share that the
 * guest writes uncached. So output needs no framing, may be binary, arrives while the job runs, and is complete when the
 * notice of the job's end arrives.
 */
import { once } from "node:events";
import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { TEST_HANG_MS } from "../support/hang.ts";
import { GuestRebootError, tail, VmError, VmTimeoutError } from "./errors.ts";
import { onLines, within } from "./wait.ts";

export type OutputStream = "stdout" | "stderr";

export interface RunOptions {
  /** Kills the command and fails after this time. */
  timeoutMs?: number;
  /** Called with each piece of output. */
  onOutput?: (stream: OutputStream, data: Buffer) => void;
}

export interface RunResult {
  /** The exit status; 128 + the signal's number after a signal, as in a shell. */
  status: number;
  /** The last 4 MiB of each. */
  stdout: string;
  stderr: string;
  /** Whether there was more. */
  truncated: boolean;
}

const KEPT_OUTPUT = 4 * 1024 * 1024;
/** A command that writes more is killed, so that a loop in the guest does not fill the host's disk. */
const OUTPUT_LIMIT = 512 * 1024 * 1024;
const READ_SIZE = 256 * 1024;
const POLL_MS = 40;

/** One stream's file, read as it grows. */
class GrowingFile {
  readonly #file: number;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  total = 0;

  constructor(path: string) {
    writeFileSync(path, "");
    this.#file = openSync(path, "r");
  }

  /** Reads what was added since the last call. */
  read(onData: (data: Buffer) => void): void {
    while (fstatSync(this.#file).size > this.total) {
      const buffer = Buffer.allocUnsafe(READ_SIZE);
      const count = readSync(this.#file, buffer, 0, READ_SIZE, this.total);
      if (count === 0) return;
      const data = buffer.subarray(0, count);
      this.total += count;
      this.#kept.push(data);
      this.#keptBytes += count;
      while (this.#keptBytes - (this.#kept[0]?.length ?? 0) >= KEPT_OUTPUT) {
        this.#keptBytes -= this.#kept.shift()?.length ?? 0;
      }
      onData(data);
    }
  }

  get text(): string {
    return Buffer.concat(this.#kept).subarray(-KEPT_OUTPUT).toString("utf8");
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** A command that runs, or has run, in the guest. */
export class Job {
  readonly command: string;
  /** The result; rejects after a time-out, a guest reboot or the end of the machine. */
  readonly done: Promise<RunResult>;
  readonly #agent: GuestAgent;
  readonly #id: number;
  readonly #streams: Readonly<Record<OutputStream, GrowingFile>>;
  readonly #onOutput: (stream: OutputStream, data: Buffer) => void;
  #resolve: (result: RunResult) => void = () => {};
  #reject: (error: Error) => void = () => {};

  /** @internal Use Vm.start(). */
  constructor(agent: GuestAgent, id: number, directory: string, command: string, options: RunOptions) {
    const { timeoutMs = TEST_HANG_MS, onOutput = () => {} } = options;
    this.command = command;
    this.#agent = agent;
    this.#id = id;
    this.#onOutput = onOutput;
    mkdirSync(directory);
    writeFileSync(join(directory, "command"), `${command}\n`);
    const file = (name: OutputStream): GrowingFile => new GrowingFile(join(directory, name));
    this.#streams = { stdout: file("stdout"), stderr: file("stderr") };
    const settled = new Promise<RunResult>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const polling = setInterval(() => this.#poll(), POLL_MS);
    const late = (): Error => {
      this.signal("KILL");
      const { stdout, stderr } = this.#read();
      const message = `"${brief(command)}" took longer than ${timeoutMs / 1000} s in the guest.`;
      return new VmTimeoutError(message, tail(stdout.text + stderr.text));
    };
    this.done = within(settled, timeoutMs, late).finally(() => {
      clearInterval(polling);
      for (const stream of Object.values(this.#streams)) stream.close();
      rmSync(directory, { recursive: true, force: true });
      agent.forget(id);
    });
    this.done.catch(() => {}); // the caller may not be interested
  }

  /** What it has written so far; the last 4 MiB. */
  get stdout(): string {
    return this.#streams.stdout.text;
  }

  /** Sends a signal ("KILL", "INT", …) to the command and all its children. */
  signal(name: string): void {
    if (!/^[A-Z0-9]+$/.test(name)) {
      throw new VmError(`invalid signal "${name}": write it without SIG, e.g. "KILL".`);
    }
    this.#agent.order("signal", this.#id, name);
  }

  /** @internal The guest reports the command's end. */
  finish(status: number): void {
    const { stdout, stderr } = this.#read();
    const truncated = Math.max(stdout.total, stderr.total) > KEPT_OUTPUT;
    this.#resolve({ status, stdout: stdout.text, stderr: stderr.text, truncated });
  }

  /** @internal There will be no result. */
  fail(error: Error): void {
    this.#reject(error);
  }

  #poll(): void {
    const { stdout, stderr } = this.#read();
    if (Math.max(stdout.total, stderr.total) <= OUTPUT_LIMIT) return;
    this.signal("KILL");
    this.fail(
      new VmError(`"${brief(this.command)}" wrote more than 512 MiB. Send output of that size to /out.`),
    );
  }

  #read(): Readonly<Record<OutputStream, GrowingFile>> {
    this.#streams.stdout.read((data) => this.#onOutput("stdout", data));
    this.#streams.stderr.read((data) => this.#onOutput("stderr", data));
    return this.#streams;
  }
}

export class GuestAgent {
  readonly #control: string;
  readonly #socket: Socket;
  readonly #jobs = new Map<number, Job>();
  readonly #oldBoots = new Set<string>();
  #waiters: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  #boot: string | undefined;
  #failure: Error | undefined;
  #nextId = 1;

  private constructor(socket: Socket, controlDir: string) {
    this.#socket = socket;
    this.#control = controlDir;
    onLines(socket, (line) => this.#receive(line));
  }

  static async connect(path: string, controlDir: string): Promise<GuestAgent> {
    const socket = connect(path);
    await once(socket, "connect");
    return new GuestAgent(socket, controlDir);
  }

  /** Resolves when the guest takes commands. */
  async ready(timeoutMs: number, timeoutError: () => Error): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#boot !== undefined) return;
    const ready = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
    await within(ready, timeoutMs, timeoutError);
  }

  start(command: string, options: RunOptions): Job {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#boot === undefined) {
      throw new VmError("The guest takes no commands now: wait for vm.ready().");
    }
    const id = this.#nextId++;
    const job = new Job(this, id, join(this.#control, String(id)), command, options);
    this.#jobs.set(id, job);
    this.order("run", id, "");
    return job;
  }

  /** The machine was reset: its commands have ended, and new ones wait for the next boot. */
  rebooted(): void {
    if (this.#boot !== undefined) this.#oldBoots.add(this.#boot);
    this.#boot = undefined;
    this.#failJobs(new GuestRebootError("The guest was restarted while this command ran in it."));
  }

  /** The machine has ended. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#failJobs(error);
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** @internal */
  order(verb: string, id: number, argument: string): void {
    if (this.#boot !== undefined) this.#socket.write(`${this.#boot} ${verb} ${id} ${argument}\n`);
  }

  /** @internal */
  forget(id: number): void {
    this.#jobs.delete(id);
  }

  #failJobs(error: Error): void {
    for (const job of this.#jobs.values()) job.fail(error);
  }

  #receive(line: string): void {
    const [boot, notice, id, status] = line.split(" ");
    if (boot === undefined || this.#oldBoots.has(boot)) return;
    if (notice === "ready" && boot !== this.#boot) {
      this.rebooted();
      this.#boot = boot;
      for (const { resolve } of this.#waiters.splice(0)) resolve();
    } else if (notice === "done" && boot === this.#boot) {
      this.#jobs.get(Number(id))?.finish(Number(status));
    }
  }
}

function brief(command: string): string {
  return command.length > 100 ? `${command.slice(0, 100)}…` : command;
}
