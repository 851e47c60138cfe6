/**
 * A real guest for tests: Debian under stock QEMU, with our GPU process and relay beside it.
 *
 * Theory of operation. Vm.boot() makes sure of the image (image.ts) and of the compiled guest software (payload.ts),
 * both cached by content; starts `vsockenc gpu` if wanted; starts QEMU with direct kernel boot, the shared root disk as
 * a throw-away snapshot, and a few UNIX sockets in a fresh private folder; starts the relay on the virtserialport's
 * socket, through a counting proxy if wanted; and waits until the guest's agent (guest-agent.ts) says that it takes
 * commands. From then on run() and start() run commands in it.
 *
 * Whatever ends the machine (QEMU or the GPU process ending by itself, a kernel panic on the serial console) becomes
 * the error of every running command, with the tail of the log that explains it. Everything that was started ends
 * with shutdown(), by pid, and at the latest with this process.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Accelerator, checkQemu, chooseAccelerator, QEMU } from "./accelerator.ts";
import { SupervisedProcess } from "./child.ts";
import { makeCpio } from "./cpio.ts";
import { tail, VmError, VmTimeoutError } from "./errors.ts";
import { GuestAgent, type Job, type RunOptions, type RunResult } from "./guest-agent.ts";
import { relayConfiguration, startGpu, startRelay } from "./host-processes.ts";
import { type Desktop, ensureImage, type GuestImage, type Suite } from "./image.ts";
import { ensurePayload } from "./payload.ts";
import { PortCounter } from "./port-counter.ts";
import { type ForwardedPort, type GpuKind, qemuArguments } from "./qemu-args.ts";
import { QmpClient } from "./qmp.ts";
import { SerialLog } from "./serial-log.ts";
import { makeStateDir, registerOwner, releaseOwner } from "./state-dir.ts";
import { poll } from "./wait.ts";

const HERE = dirname(fileURLToPath(import.meta.url));

export interface VmOptions {
  /** The guest's Debian; default "trixie". Others have no software of ours: payload must be false. */
  suite?: Suite;
  /** Has a desktop on the GPU's screen, which is complete when boot() resolves (guest/desktop). Default: none. */
  desktop?: Desktop;
  /** More for the guest kernel's command line; MODULE.PARAMETER=VALUE reaches modules too. */
  kernelArgs?: readonly string[];
  /** Default "vsockenc". */
  gpu?: GpuKind;
  /** Whether our relay serves the port; default true. */
  relay?: boolean;
  /** A TOML file put before the relay's [[vm]] section. */
  relayConfig?: string;
  /** Put a counting proxy between relay and port; default false. */
  countPort?: boolean;
  /** With countPort: a folder for the first bytes of both directions. */
  recordPort?: string;
  memoryMiB?: number;
  /** Host folders that appear as /in (read-only) and /out. */
  inDir?: string;
  outDir?: string;
  /** The GPU's number of outputs, and the first one's size as WIDTHxHEIGHT (gpu "vsockenc"). */
  heads?: number;
  mode?: string;
  /** A file for the GPU's vhost session (gpu "vsockenc"). */
  recordSession?: string;
  /** Whether the guest gets the project's own software at /opt/vsockenc; default true. */
  payload?: boolean;
  /** Ports of the guest that programs on this machine reach; default none, and no network. */
  forward?: readonly ForwardedPort[];
  qemuArgs?: readonly string[];
  /** From QEMU's start until the guest takes commands; default two minutes. */
  timeoutMs?: number;
  /** Progress, one line a call; default: nothing. */
  log?: (line: string) => void;
  /** Also log what QEMU, GPU and relay print, and the guest kernel's messages. */
  verbose?: boolean;
}

/**
 * An assertion of QEMU 10.0's own emulator that a busy machine trips over now and then while firmware and kernel lay the
 * devices out: at boot and after a reset. Only this one is tried again, and only once.
 */
const TCG_ASSERTION = /iotlb_to_section: Assertion/;
const DEFAULT_MEMORY_MIB = 1024;
const DEFAULT_BOOT_MS = 120_000;
const QEMU_START_MS = 20_000;
const DESKTOP_START_MS = 120_000;

export class Vm {
  /** A private folder with the machine's sockets and logs; gone after shutdown(). */
  readonly stateDir: string;
  readonly options: VmOptions;
  /** How it was started, for reports. */
  accelerator: Accelerator = "tcg";
  qemuVersion = "";
  /** From QEMU's start until the first command could run. */
  bootMs = 0;
  gpu: SupervisedProcess | undefined;
  relay: SupervisedProcess | undefined;
  portProxy: PortCounter | undefined;
  /** The exporter's socket, with gpu "vsockenc". */
  readonly exportSocket: string;
  /** QEMU's end of org.vsockenc.0: what a relay connects to. */
  readonly portSocket: string;
  readonly #serial: SerialLog;
  #qemu: SupervisedProcess | undefined;
  #qmp: QmpClient | undefined;
  #agent: GuestAgent | undefined;
  #failure: Error | undefined;
  #ending: Promise<void> | undefined;

  private constructor(options: VmOptions) {
    this.options = options;
    this.stateDir = makeStateDir();
    this.exportSocket = join(this.stateDir, "export.sock");
    this.portSocket = join(this.stateDir, "port0.sock");
    this.#serial = new SerialLog(join(this.stateDir, "serial.log"), this.#output("guest"), (error) =>
      this.#fail(error),
    );
  }

  /** Boots a guest; resolves when it takes commands. */
  static boot(options: VmOptions = {}): Promise<Vm> {
    return Vm.#attempt(options, async (vm) => vm);
  }

  /** A guest for `body` alone; both once more, with another one, where QEMU's emulator failed meanwhile. */
  static use(options: VmOptions, body: (vm: Vm) => Promise<void>): Promise<void> {
    return Vm.#attempt(options, async (vm) => {
      await body(vm);
      await vm.shutdown();
    });
  }

  /** Ends the guest where booting it, or `body`, fails. */
  static async #attempt<T>(options: VmOptions, body: (vm: Vm) => Promise<T>): Promise<T> {
    for (let again = true; ; again = false) {
      const vm = new Vm(options);
      registerOwner(vm);
      try {
        await vm.#boot();
        return await body(vm);
      } catch (error) {
        await vm.shutdown();
        if (!vm.#emulatorFailed || !again) throw error;
        options.log?.(
          "QEMU aborted by an assertion of its emulator (a known fault of TCG); starting once more",
        );
      }
    }
  }

  get #emulatorFailed(): boolean {
    return TCG_ASSERTION.test(this.#qemu?.log ?? "");
  }

  /** Runs a command (bash) in the guest and waits for its end. */
  run(command: string, options: RunOptions = {}): Promise<RunResult> {
    return this.start(command, options).done;
  }

  /** Starts a command in the guest. */
  start(command: string, options: RunOptions = {}): Job {
    return this.#required(this.#agent).start(command, options);
  }

  get qmp(): QmpClient {
    return this.#required(this.#qmp);
  }

  get qemu(): SupervisedProcess {
    return this.#required(this.#qemu);
  }

  /** What the guest wrote to its serial console; the last 512 KiB. */
  get guestSerialLog(): string {
    return this.#serial.text;
  }

  /** Resolves when the guest takes commands: after a reboot that it, or qmp.execute("system_reset"), began. */
  async ready(timeoutMs = DEFAULT_BOOT_MS): Promise<void> {
    await this.#required(this.#agent).ready(
      timeoutMs,
      () =>
        new VmTimeoutError(`The guest took no commands within ${timeoutMs / 1000} s.`, this.#explanation()),
    );
  }

  /** Resets the machine, as its reset button would, and waits until it takes commands again. */
  async reset(timeoutMs = DEFAULT_BOOT_MS): Promise<void> {
    const reset = this.qmp.waitForEvent("RESET");
    await this.qmp.execute("system_reset");
    await reset;
    await this.ready(timeoutMs);
  }

  /** Ends everything; safe to call twice. */
  shutdown(): Promise<void> {
    this.#ending ??= this.#shutdown();
    return this.#ending;
  }

  #required<T>(value: T | undefined): T {
    if (value === undefined) {
      throw this.#failure ?? new VmError("The virtual machine does not run.");
    }
    return value;
  }

  #log(line: string): void {
    this.options.log?.(line);
  }

  /** A logger for one process's output, silent unless verbose. */
  #output(name: string): (text: string) => void {
    return (text) => {
      if (this.options.verbose === true) {
        for (const line of text.trimEnd().split("\n")) {
          this.#log(`${name}: ${line}`);
        }
      }
    };
  }

  async #boot(): Promise<void> {
    const { options } = this;
    const log = (line: string): void => this.#log(line);
    const checkout = resolve(HERE, "../..");
    for (const directory of [options.inDir, options.outDir]) {
      if (directory !== undefined && !existsSync(directory)) {
        throw new VmError(`The folder ${directory} does not exist. Make it first.`);
      }
    }
    this.qemuVersion = checkQemu();
    const image = await ensureImage(
      options.desktop === undefined ? (options.suite ?? "trixie") : "desktop",
      log,
    );
    const payloadDisk = options.payload === false ? undefined : await ensurePayload(image, checkout, log);
    const initrd = this.#makeInitrd(image);
    this.accelerator = await chooseAccelerator(image, initrd, this.qemuVersion, log);
    const gpu = options.gpu ?? "vsockenc";
    const vgpuSocket = join(this.stateDir, "vgpu.sock");
    const started = Date.now();
    log(`starting the guest (QEMU ${this.qemuVersion}, ${this.accelerator}, GPU: ${gpu})`);
    if (gpu === "vsockenc") {
      const where = { socketPath: vgpuSocket, exportPath: this.exportSocket };
      const what = { heads: options.heads ?? 1, mode: options.mode, record: options.recordSession };
      this.gpu = await startGpu(checkout, { ...where, ...what }, this.#output("gpu"));
      const process = this.gpu;
      process.onUnexpectedEnd = (ending) => this.#fail(process.endedError(ending));
    }
    const controlDir = join(this.stateDir, "control");
    mkdirSync(controlDir);
    const qmpSocket = join(this.stateDir, "qmp.sock");
    const agentSocket = join(this.stateDir, "agent.sock");
    const args = qemuArguments({
      ...{ accelerator: this.accelerator, memoryMiB: options.memoryMiB ?? DEFAULT_MEMORY_MIB },
      ...{
        gpu,
        heads: options.heads ?? 1,
        kernel: image.kernel,
        initrd,
        rootDisk: image.rootDisk,
        payloadDisk,
      },
      ...{ controlDir, inDir: absolute(options.inDir), outDir: absolute(options.outDir) },
      ...{ qmpSocket, agentSocket, portSocket: this.portSocket, vgpuSocket, serialLog: this.#serial.path },
      ...{ verboseKernel: options.verbose === true, kernelArgs: options.kernelArgs ?? [] },
      forward: options.forward ?? [],
      extra: options.qemuArgs ?? [],
    });
    this.#startQemu(args);
    this.#qmp = await this.#connectQmp(qmpSocket);
    this.#agent = await GuestAgent.connect(agentSocket, controlDir);
    this.#qmp.on("event", (event) => {
      if (event.event === "RESET") {
        this.#agent?.rebooted();
      }
    });
    if (options.countPort === true) {
      this.portProxy = new PortCounter({
        listenPath: join(this.stateDir, "counter.sock"),
        targetPath: this.portSocket,
        ...(options.recordPort === undefined ? {} : { recordTo: options.recordPort }),
      });
      await this.portProxy.start();
    }
    if (options.relay !== false) {
      this.#startRelay(checkout, gpu === "vsockenc" ? this.exportSocket : undefined);
    }
    if (this.#failure !== undefined) {
      this.#agent.fail(this.#failure); // it came before there was an agent to tell
    }
    await this.ready(options.timeoutMs ?? DEFAULT_BOOT_MS);
    if (options.desktop !== undefined) await this.#startDesktop(options.desktop);
    this.bootMs = Date.now() - started;
    log(`the guest takes commands after ${(this.bootMs / 1000).toFixed(1)} s`);
  }

  /** The image's drivers, then our scripts: the kernel unpacks both. */
  #makeInitrd(image: GuestImage): string {
    const scripts = ["init", "stage2", "agent", "desktop"].map((name) => ({
      name,
      content: readFileSync(join(HERE, "guest", name)),
      executable: true,
    }));
    const initrd = join(this.stateDir, "initrd");
    writeFileSync(initrd, Buffer.concat([readFileSync(image.initrd), makeCpio(scripts)]));
    return initrd;
  }

  async #startDesktop(desktop: Desktop): Promise<void> {
    this.#log(`starting the desktop (${desktop})`);
    const { status, stdout, stderr } = await this.run(`desktop ${desktop}`, { timeoutMs: DESKTOP_START_MS });
    if (status !== 0) throw new VmError(`The desktop did not start.`, tail(stdout + stderr, 40));
  }

  #startQemu(args: string[]): void {
    const qemu = new SupervisedProcess("QEMU", [QEMU, ...args]);
    this.#qemu = qemu;
    qemu.onOutput = this.#output("qemu");
    qemu.onUnexpectedEnd = (ending) => {
      this.#fail(
        new VmError(`${qemu.endedError(ending).message}\nThe guest's console:`, tail(this.guestSerialLog)),
      );
    };
    qemu.start();
  }

  async #connectQmp(path: string): Promise<QmpClient> {
    return poll(
      async () => {
        if (this.#failure !== undefined) {
          throw this.#failure;
        }
        return existsSync(path)
          ? await QmpClient.connect(path, QEMU_START_MS).catch(() => undefined)
          : undefined;
      },
      QEMU_START_MS,
      "QEMU's QMP socket",
    );
  }

  #startRelay(checkout: string, exportSocket: string | undefined): void {
    const config = join(this.stateDir, "relay.toml");
    const port = this.portProxy?.listenPath ?? this.portSocket;
    writeFileSync(config, relayConfiguration(this.options.relayConfig, port, exportSocket));
    const relay = startRelay(checkout, config, this.#output("relay"));
    this.relay = relay;
    // Not the machine's end: the relay may die, that is part of the design.
    relay.onUnexpectedEnd = (ending) => this.#log(`warning: ${relay.endedError(ending).message}`);
  }

  #fail(error: Error): void {
    if (this.#ending === undefined) {
      this.#failure ??= error;
      this.#agent?.fail(this.#failure);
    }
  }

  /** What the logs say, for an error about a silence. */
  #explanation(): string {
    const parts = [`serial console:\n${tail(this.guestSerialLog)}`];
    for (const process of [this.#qemu, this.gpu, this.relay]) {
      if (process !== undefined && process.log !== "") {
        parts.push(`${process.name}:\n${tail(process.log, 10)}`);
      }
    }
    return parts.join("\n");
  }

  async #shutdown(): Promise<void> {
    this.#agent?.fail(this.#failure ?? new VmError("The virtual machine was shut down."));
    await this.relay?.stop();
    await this.portProxy?.stop();
    this.#agent?.close();
    this.#qmp?.close();
    // The guest's disk is a throw-away: nothing in it need be told.
    this.#qemu?.kill("SIGKILL");
    await this.#qemu?.ended();
    await this.gpu?.stop();
    this.#serial.close();
    this.#failure ??= new VmError("The virtual machine was shut down.");
    this.#qmp = undefined;
    this.#agent = undefined;
    releaseOwner(this);
  }
}

function absolute(path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(path);
}
