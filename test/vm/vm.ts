/**
 * A real guest for tests: Debian under stock QEMU, with the project's GPU process and relay beside it.
 *
 * Theory of operation. Vm.boot() ensures that the image (image.ts) and the guest's compiled software (payload.ts) exist,
 * both cached by content; starts `vsockenc gpu`; starts QEMU with direct kernel boot, a throw-away snapshot of the shared
 * root disk, and UNIX sockets in a private folder; starts the relay on the virtserialport's socket, optionally through a
 * counting proxy; and waits until the guest's agent (guest-agent.ts) takes commands, which run() and start() send.
 *
 * When the machine fails (QEMU or the GPU process ends, the kernel panics), every running command rejects with that
 * error and the end of the relevant log. shutdown() ends everything that was started, by pid; so does this process's end.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { nativeFolder } from "../../common/load-addon.ts";
import { HANG_MS, TEST_HANG_MS } from "../support/hang.ts";
import { until } from "../support/until.ts";
import { type Accelerator, checkQemu, chooseAccelerator, QEMU } from "./accelerator.ts";
import { cacheRoot } from "./cache.ts";
import { SupervisedProcess } from "./child.ts";
import { makeCpio } from "./cpio.ts";
import { tail, VmError, VmTimeoutError } from "./errors.ts";
import { GuestAgent, type Job, type RunOptions, type RunResult } from "./guest-agent.ts";
import {
  type ExporterLoading,
  exporterEnvironment,
  relayConfiguration,
  startGpu,
  startRelay,
  startXvfb,
  vsockencCommand,
} from "./host-processes.ts";
import { type Desktop, ensureImage, type GuestImage, type Suite } from "./image.ts";
import { ensurePayload } from "./payload.ts";
import { PortCounter } from "./port-counter.ts";
import { type ForwardedPort, type GpuKind, isGl, qemuArguments, STATE_FILES } from "./qemu-args.ts";
import { QmpClient } from "./qmp.ts";
import { SerialLog } from "./serial-log.ts";
import { makeStateDir, registerOwner, releaseOwner } from "./state-dir.ts";
import { treeCommand } from "./tree-command.ts";

export interface VmOptions {
  /** The guest's Debian; default "trixie". Others have no software of ours: payload must be false. */
  suite?: Suite;
  /** A desktop on the GPU's screen, running when boot() resolves (guest/desktop). Default: none. */
  desktop?: Desktop | undefined;
  /** More for the guest kernel's command line; MODULE.PARAMETER=VALUE reaches modules too. */
  kernelArgs?: readonly string[];
  /** Default "vsockenc". */
  gpu?: GpuKind;
  /** Whose QEMU: this machine's (default), or Debian 13's in the guest's build tree, with its virglrenderer and Mesa. */
  qemuOf?: "machine" | "trixie";
  /** How the exporter gets into a QEMU with gpu "gl" or "gles"; default "preload". */
  exporter?: ExporterLoading;
  /** Whether our relay serves the port; default true. */
  relay?: boolean;
  /** A TOML file put before the relay's [[vm]] section. */
  relayConfig?: string | undefined;
  /** Puts a counting proxy between relay and port; default false. */
  countPort?: boolean;
  /** With countPort: a folder for the first bytes of both directions. */
  recordPort?: string;
  memoryMiB?: number;
  /** Host folders that appear as /in (read-only) and /out. */
  inDir?: string | undefined;
  outDir?: string | undefined;
  /** The GPU's number of outputs, and the first one's size as WIDTHxHEIGHT. */
  heads?: number;
  mode?: string | undefined;
  /** A file for the GPU's vhost session (gpu "vsockenc"). */
  recordSession?: string;
  /** Whether the guest gets the project's own software at /opt/vsockenc; default true. */
  payload?: boolean;
  /** Ports of the guest that programs on this machine can reach; default none, and no network. */
  forward?: readonly ForwardedPort[];
  qemuArgs?: readonly string[];
  /** Receives progress, one line a call; default: discarded. */
  log?: (line: string) => void;
  /** Also log the output of QEMU, GPU and relay, and the guest kernel's messages. */
  verbose?: boolean;
}

/**
 * Assertions of QEMU 10.0's emulator that fail now and then on a busy machine, at boot and after a reset: a guest's access finds
 * no device, or the registers of another one.
 */
const TCG_ASSERTION = /(iotlb_to_section|msix_table_mmio_write): Assertion/;
const DEFAULT_MEMORY_MIB = 1024;

export class Vm {
  /** A private folder with the machine's sockets and logs; removed by shutdown(). */
  readonly stateDir: string;
  readonly options: VmOptions;
  /** How it was started, for reports. */
  accelerator: Accelerator = "tcg";
  qemuVersion = "";
  gpu: SupervisedProcess | undefined;
  relay: SupervisedProcess | undefined;
  portProxy: PortCounter | undefined;
  /** The exporter's socket, with gpu "vsockenc", "gl" or "gles". */
  readonly exportSocket: string;
  /** QEMU's end of org.vsockenc.0: what a relay connects to. */
  readonly portSocket: string;
  readonly #serial: SerialLog;
  #qemu: SupervisedProcess | undefined;
  #xvfb: SupervisedProcess | undefined;
  #qmp: QmpClient | undefined;
  #agent: GuestAgent | undefined;
  #failure: Error | undefined;
  #ending: Promise<void> | undefined;

  private constructor(options: VmOptions) {
    this.options = options;
    this.stateDir = makeStateDir();
    this.exportSocket = this.#path("export.sock");
    this.portSocket = this.#path(STATE_FILES.port);
    const onPanic = (error: Error): void => this.#fail(error);
    this.#serial = new SerialLog(this.#path(STATE_FILES.serial), this.#output("guest"), onPanic);
  }

  /** Boots a guest; resolves when it takes commands. */
  static boot(options: VmOptions = {}): Promise<Vm> {
    return Vm.#attempt(options, async (vm) => vm);
  }

  /** Boots a guest for `body` alone. Repeats both, once, where QEMU's emulator failed. */
  static use(options: VmOptions, body: (vm: Vm) => Promise<void>): Promise<void> {
    return Vm.#attempt(options, async (vm) => {
      await body(vm);
      await vm.shutdown();
    });
  }

  /** Shuts the guest down where booting it, or `body`, fails. */
  static async #attempt<T>(options: VmOptions, body: (vm: Vm) => Promise<T>): Promise<T> {
    for (let again = true; ; again = false) {
      const vm = new Vm(options);
      registerOwner(vm);
      try {
        await vm.#boot();
        return await body(vm);
      } catch (error) {
        await vm.shutdown();
        if (!again || !TCG_ASSERTION.test(vm.#qemu?.log ?? "")) throw error;
        vm.#log("QEMU aborted by an assertion of its emulator (a known defect of TCG); starting once more");
      }
    }
  }

  /** Runs a command (bash) in the guest and waits for its end. */
  run(command: string, options: RunOptions = {}): Promise<RunResult> {
    return this.start(command, options).done;
  }

  /** Runs a command that has to succeed. @returns its standard output @throws VmError with all of its output */
  async succeed(command: string): Promise<string> {
    const { status, stdout, stderr } = await this.run(command);
    if (status === 0) return stdout;
    throw new VmError(`"${command}" failed in the guest with status ${status}:`, tail(stdout + stderr));
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

  /** Resolves when the guest takes commands again, after a reboot that it, or qmp.execute("system_reset"), began. */
  async ready(): Promise<void> {
    await this.#required(this.#agent).ready(TEST_HANG_MS, () => {
      const parts = [`serial console:\n${tail(this.#serial.text)}`];
      for (const process of [this.#qemu, this.gpu, this.relay]) {
        if (process !== undefined && process.log !== "") {
          parts.push(`${process.name}:\n${tail(process.log, 10)}`);
        }
      }
      const message = `The guest took no commands within ${TEST_HANG_MS / 1000} s.`;
      return new VmTimeoutError(message, parts.join("\n"));
    });
  }

  /** Resets the machine, as its reset button would, and waits until it takes commands again. */
  async reset(): Promise<void> {
    const reset = this.qmp.waitForEvent("RESET");
    await this.qmp.execute("system_reset");
    await reset;
    await this.ready();
  }

  /** Ends everything; safe to call twice. */
  shutdown(): Promise<void> {
    this.#ending ??= this.#shutdown();
    return this.#ending;
  }

  #path(name: string): string {
    return join(this.stateDir, name);
  }

  #required<T>(value: T | undefined): T {
    if (value === undefined) throw this.#failure ?? new VmError("The virtual machine does not run.");
    return value;
  }

  #log(line: string): void {
    this.options.log?.(line);
  }

  /** A logger for one process's output, silent unless verbose. */
  #output(name: string): (text: string) => void {
    if (this.options.verbose !== true) return () => {};
    return (text) => {
      for (const line of text.trimEnd().split("\n")) this.#log(`${name}: ${line}`);
    };
  }

  async #boot(): Promise<void> {
    const { options } = this;
    const { gpu = "vsockenc", suite = "trixie", heads = 1, desktop, inDir, outDir } = options;
    const log = (line: string): void => this.#log(line);
    for (const directory of [inDir, outDir]) {
      if (directory !== undefined && !existsSync(directory)) {
        throw new VmError(`The folder ${directory} does not exist. Create it first.`);
      }
    }
    this.qemuVersion = checkQemu();
    const image = await ensureImage(desktop === undefined ? suite : "desktop", log);
    const payloadDisk = options.payload === false ? undefined : await ensurePayload(image, log);
    const initrd = this.#makeInitrd(image);
    this.accelerator = await chooseAccelerator(image, initrd, this.qemuVersion, log);
    const started = Date.now();
    log(`starting the guest (QEMU ${this.qemuVersion}, ${this.accelerator}, GPU: ${gpu})`);
    if (gpu === "vsockenc") {
      const { mode, recordSession: record } = options;
      const sockets = { socketPath: this.#path(STATE_FILES.vgpu), exportPath: this.exportSocket };
      this.gpu = await startGpu({ ...sockets, heads, mode, record }, this.#output("gpu"));
      this.gpu.onUnexpectedEnd = (error) => this.#fail(error);
    }
    const controlDir = this.#path(STATE_FILES.control);
    mkdirSync(controlDir);
    const environment = isGl(gpu) ? await this.#prepareGl() : [];
    this.#startQemu(
      options.qemuOf === "trixie" ? this.#inTree(image) : [],
      gpu === "run" ? vsockencCommand("run", "--log-level", "info", "--") : ["env", ...environment],
      qemuArguments({
        accelerator: this.accelerator,
        memoryMiB: options.memoryMiB ?? DEFAULT_MEMORY_MIB,
        gpu,
        heads,
        mode: options.mode,
        kernel: image.kernel,
        initrd,
        rootDisk: image.rootDisk,
        payloadDisk,
        stateDir: this.stateDir,
        inDir: inDir === undefined ? undefined : resolve(inDir),
        outDir: outDir === undefined ? undefined : resolve(outDir),
        verboseKernel: options.verbose === true,
        kernelArgs: options.kernelArgs ?? [],
        forward: options.forward ?? [],
        extra: options.qemuArgs ?? [],
      }),
    );
    this.#qmp = await until(() => this.#connectQmp(), "QEMU's QMP socket");
    this.#agent = await GuestAgent.connect(this.#path(STATE_FILES.agent), controlDir);
    this.#qmp.on("event", ({ event }) => {
      if (event === "RESET") this.#agent?.rebooted();
    });
    await this.#startRelay(gpu === "vsockenc" || isGl(gpu) ? this.exportSocket : undefined);
    if (this.#failure !== undefined) this.#agent.fail(this.#failure); // it happened before there was an agent
    await this.ready();
    if (desktop !== undefined) await this.#startDesktop(desktop);
    log(`the guest takes commands after ${((Date.now() - started) / 1000).toFixed(1)} s`);
  }

  /** The image's drivers, then our scripts: the kernel unpacks both. */
  #makeInitrd(image: GuestImage): string {
    const scripts = ["init", "stage2", "agent", "desktop"].map((name) => ({
      name,
      content: readFileSync(join(import.meta.dirname, "guest", name)),
      executable: true,
    }));
    const initrd = this.#path("initrd");
    writeFileSync(initrd, Buffer.concat([readFileSync(image.initrd), makeCpio(scripts)]));
    return initrd;
  }

  async #startDesktop(desktop: Desktop): Promise<void> {
    this.#log(`starting the desktop (${desktop})`);
    const { status, stdout, stderr } = await this.run(
      `desktop ${desktop}${isGl(this.options.gpu ?? "none") ? " gl" : ""}`,
    );
    if (status !== 0) throw new VmError("The desktop did not start.", tail(stdout + stderr, 40));
  }

  /** @returns the variables of QEMU's environment, as words for env(1) */
  async #prepareGl(): Promise<string[]> {
    const x = await startXvfb();
    this.#xvfb = x.process;
    x.process.onUnexpectedEnd = (error) => this.#fail(error);
    const exporter = exporterEnvironment(this.options.exporter ?? "preload", this.exportSocket);
    return [`DISPLAY=${x.display}`, ...exporter];
  }

  /** The words before a command that runs in the image's build tree. */
  #inTree({ buildTree }: GuestImage): string[] {
    if (buildTree === undefined) throw new VmError("This image has no build tree, hence no QEMU.");
    const { inDir, outDir } = this.options;
    const folders = [this.stateDir, cacheRoot(), nativeFolder(), inDir, outDir].filter(
      (path) => path !== undefined,
    );
    return treeCommand(
      buildTree,
      folders.map((path) => resolve(path)),
    );
  }

  /** @param by words of a program that becomes or starts QEMU */
  #startQemu(prefix: readonly string[], by: readonly string[], args: readonly string[]): void {
    const qemu = new SupervisedProcess("QEMU", [...prefix, ...by, QEMU, ...args]);
    this.#qemu = qemu;
    qemu.onOutput = this.#output("qemu");
    qemu.onUnexpectedEnd = ({ message }) =>
      this.#fail(new VmError(`${message}\nThe guest's console:`, tail(this.#serial.text)));
    qemu.start();
  }

  async #connectQmp(): Promise<QmpClient | undefined> {
    const path = this.#path(STATE_FILES.qmp);
    if (this.#failure !== undefined) throw this.#failure;
    return existsSync(path) ? await QmpClient.connect(path, HANG_MS).catch(() => undefined) : undefined;
  }

  async #startRelay(exportSocket: string | undefined): Promise<void> {
    const { countPort, recordPort, relay = true, relayConfig } = this.options;
    let { portSocket } = this;
    if (countPort === true) {
      const listenPath = this.#path("counter.sock");
      this.portProxy = new PortCounter({ listenPath, targetPath: portSocket, recordTo: recordPort });
      await this.portProxy.start();
      portSocket = listenPath;
    }
    if (!relay || this.options.gpu === "run") return;
    const config = this.#path("relay.toml");
    writeFileSync(config, relayConfiguration(relayConfig, { portSocket, exportSocket }));
    this.relay = startRelay(config, this.#output("relay"));
    // The machine survives this: the relay may end at any time.
    this.relay.onUnexpectedEnd = ({ message }) => this.#log(`warning: ${message}`);
  }

  #fail(error: Error): void {
    if (this.#ending !== undefined) return;
    this.#failure ??= error;
    this.#agent?.fail(this.#failure);
  }

  async #shutdown(): Promise<void> {
    this.#failure ??= new VmError("The virtual machine was shut down.");
    this.#agent?.fail(this.#failure);
    await this.relay?.stop();
    await this.portProxy?.stop();
    this.#agent?.close();
    this.#qmp?.close();
    // The guest's disk is a throw-away, so the guest need not shut down.
    if (this.options.gpu === "run") await this.#qemu?.stop();
    this.#qemu?.kill("SIGKILL");
    await this.#qemu?.ended();
    await this.gpu?.stop();
    await this.#xvfb?.stop();
    this.#serial.close();
    this.#qmp = undefined;
    this.#agent = undefined;
    releaseOwner(this);
  }
}
