/**
 * The host's side of guest/agent: runs commands in the guest, several at once, over any number of guest boots.
 *
 * Orders and notices are short lines over a virtserialport; a command's text and output are files in a share that the
 * guest writes uncached. So a job's output needs no framing, may be binary, arrives while the job runs, and is complete
 * when the notice of its end arrives.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { GuestRebootError, tail, VmError, VmTimeoutError } from "./errors.ts";
import { onLines } from "./lines.ts";
import { within } from "./wait.ts";

export type OutputStream = "stdout" | "stderr";

export interface RunOptions {
  /** Kills the command and fails after this time; default ten minutes. */
  timeoutMs?: number;
  /** Called with each piece of output as it comes. */
  onOutput?: (stream: OutputStream, data: Buffer) => void;
}

export interface RunResult {
  /** The exit status; 128 + the signal's number when a signal ended it, as in a shell. */
  status: number;
  /** The last 4 MiB of each. */
  stdout: string;
  stderr: string;
  /** Whether there was more. */
  truncated: boolean;
}

const DEFAULT_TIMEOUT_MS = 600_000;
const KEPT_OUTPUT = 4 * 1024 * 1024;
/** What one stream may write: beyond it the command is killed, to keep a loop in the guest from filling our disk. */
const OUTPUT_LIMIT = 512 * 1024 * 1024;
const READ_SIZE = 256 * 1024;
const LOOK_EVERY_MS = 40;

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

  /** What was added since the last call. */
  read(onData: (data: Buffer) => void): void {
    while (fstatSync(this.#file).size > this.total) {
      const buffer = Buffer.allocUnsafe(READ_SIZE);
      const count = readSync(this.#file, buffer, 0, READ_SIZE, this.total);
      if (count === 0) {
        return;
      }
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

  text(): string {
    return Buffer.concat(this.#kept).subarray(-KEPT_OUTPUT).toString("utf8");
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** A command that runs, or has run, in the guest. */
export class Job {
  readonly id: number;
  readonly command: string;
  /** The result; an error after a time-out, a guest reboot or the end of the machine. */
  readonly done: Promise<RunResult>;
  readonly #agent: GuestAgent;
  readonly #directory: string;
  readonly #stdout: GrowingFile;
  readonly #stderr: GrowingFile;
  readonly #onOutput: (stream: OutputStream, data: Buffer) => void;
  readonly #looking: NodeJS.Timeout;
  readonly #limit: NodeJS.Timeout;
  #resolve: (result: RunResult) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #settled = false;

  /** @internal Use Vm.start(). */
  constructor(agent: GuestAgent, id: number, directory: string, command: string, options: RunOptions) {
    this.id = id;
    this.command = command;
    this.#agent = agent;
    this.#directory = directory;
    mkdirSync(directory);
    writeFileSync(join(directory, "command"), `${command}\n`);
    this.#stdout = new GrowingFile(join(directory, "stdout"));
    this.#stderr = new GrowingFile(join(directory, "stderr"));
    this.#onOutput = options.onOutput ?? (() => {});
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => {}); // whoever waits for it gets the error; nobody need
    this.#looking = setInterval(() => this.#look(), LOOK_EVERY_MS);
    const ms = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#limit = setTimeout(() => {
      this.signal("KILL");
      this.fail(
        new VmTimeoutError(
          `"${brief(command)}" took longer than ${ms / 1000} s in the guest.`,
          this.#quote(),
        ),
      );
    }, ms);
  }

  /** Sends a signal ("KILL", "INT", …) to the command and all its children. */
  signal(name: string): void {
    if (!/^[A-Z0-9]+$/.test(name)) {
      throw new VmError(`"${name}" is no signal's name; write it without SIG, e.g. "KILL".`);
    }
    this.#agent.order("signal", this.id, name);
  }

  /** @internal The guest says that the command has ended. */
  finish(status: number): void {
    this.#look();
    const truncated = Math.max(this.#stdout.total, this.#stderr.total) > KEPT_OUTPUT;
    const result = { status, stdout: this.#stdout.text(), stderr: this.#stderr.text(), truncated };
    if (this.#release()) {
      this.#resolve(result);
    }
  }

  /** @internal There will be no result. */
  fail(error: Error): void {
    if (this.#release()) {
      this.#reject(error);
    }
  }

  #look(): void {
    if (this.#settled) {
      return;
    }
    this.#stdout.read((data) => this.#onOutput("stdout", data));
    this.#stderr.read((data) => this.#onOutput("stderr", data));
    if (Math.max(this.#stdout.total, this.#stderr.total) > OUTPUT_LIMIT) {
      this.signal("KILL");
      this.fail(
        new VmError(`"${brief(this.command)}" wrote more than 512 MiB. Send output of that size to /out.`),
      );
    }
  }

  #quote(): string {
    this.#stdout.read((data) => this.#onOutput("stdout", data));
    this.#stderr.read((data) => this.#onOutput("stderr", data));
    return tail(this.#stdout.text() + this.#stderr.text());
  }

  #release(): boolean {
    if (this.#settled) {
      return false;
    }
    this.#settled = true;
    clearInterval(this.#looking);
    clearTimeout(this.#limit);
    this.#stdout.close();
    this.#stderr.close();
    rmSync(this.#directory, { recursive: true, force: true });
    this.#agent.forget(this.id);
    return true;
  }
}

export class GuestAgent {
  readonly #control: string;
  readonly #socket: Socket;
  readonly #jobs = new Map<number, Job>();
  readonly #oldBoots = new Set<string>();
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #boot: string | undefined;
  #failure: Error | undefined;
  #nextId = 1;

  private constructor(socket: Socket, controlDir: string) {
    this.#socket = socket;
    this.#control = controlDir;
    socket.on("error", () => {}); // QEMU's end shows elsewhere
    onLines(socket, (line) => this.#receive(line));
  }

  static async connect(path: string, controlDir: string): Promise<GuestAgent> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new GuestAgent(socket, controlDir);
  }

  /** Resolves when the guest takes commands. */
  async ready(timeoutMs: number, timeoutError: () => Error): Promise<void> {
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
    if (this.#boot === undefined) {
      const ready = new Promise<void>((resolve, reject) => {
        this.#waiters.push({ resolve, reject });
      });
      await within(ready, timeoutMs, timeoutError);
    }
  }

  start(command: string, options: RunOptions): Job {
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
    if (this.#boot === undefined) {
      throw new VmError("The guest takes no commands now: wait for vm.ready().");
    }
    const id = this.#nextId++;
    const job = new Job(this, id, join(this.#control, String(id)), command, options);
    this.#jobs.set(id, job);
    this.order("run", id, "");
    return job;
  }

  /** The machine was reset: what ran in it is gone, and commands wait for the next boot. */
  rebooted(): void {
    if (this.#boot !== undefined) {
      this.#oldBoots.add(this.#boot);
      this.#boot = undefined;
    }
    this.#failJobs(new GuestRebootError("The guest was restarted while this command ran in it."));
  }

  /** The machine is gone. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#failJobs(error);
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(error);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  /** @internal */
  order(verb: string, id: number, argument: string): void {
    if (this.#boot !== undefined) {
      this.#socket.write(`${this.#boot} ${verb} ${id} ${argument}\n`);
    }
  }

  /** @internal */
  forget(id: number): void {
    this.#jobs.delete(id);
  }

  #failJobs(error: Error): void {
    for (const job of [...this.#jobs.values()]) {
      job.fail(error);
    }
  }

  #receive(line: string): void {
    const [boot, notice, id, status] = line.split(" ");
    if (boot === undefined || this.#oldBoots.has(boot)) {
      return;
    }
    if (notice === "ready" && boot !== this.#boot) {
      this.rebooted();
      this.#boot = boot;
      for (const waiter of this.#waiters.splice(0)) {
        waiter.resolve();
      }
    } else if (notice === "done" && boot === this.#boot) {
      this.#jobs.get(Number(id))?.finish(Number(status));
    }
  }
}

function brief(command: string): string {
  return command.length > 100 ? `${command.slice(0, 100)}…` : command;
}
