/** The commands that describe one VM of a configuration to a hypervisor. */
import { Command, InvalidArgumentError, Option } from "commander";
import { minimumQemu } from "../common/package-root.ts";
import {
  ConfigurationError,
  GPU_DEFAULTS,
  type GpuKind,
  readConfiguration,
  type VmConfiguration,
} from "../host/config.ts";
import { DISPLAY_MODE_RULE, parseDisplayMode } from "../host/gpu/display-mode.ts";
import {
  GL_DISPLAYS,
  type GlDisplay,
  type HypervisorVm,
  libvirtXml,
  MEMORY_BACKENDS,
  type MemoryBackend,
  type QemuGlGpu,
  qemuArguments,
  qemuEnvironment,
} from "../host/hypervisor.ts";
import { preloadableLibrary, renderNodes } from "./virgl.ts";

interface GpuOptions {
  readonly gpu?: GpuKind;
  readonly library?: string;
}

interface VmOptions extends GpuOptions {
  readonly config: string;
  readonly vm?: string;
  readonly memory: number;
}

/** How this machine shares a VM's memory. */
export const defaultMemoryBackend: MemoryBackend = process.platform === "linux" ? "memfd" : "shm";

/** The display that gives a GPU its GL context here. */
export const defaultGlDisplay = (): GlDisplay => (renderNodes("/").length > 0 ? "egl-headless" : "sdl");

function mebibytes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 64 && value <= 16 * 1024 * 1024) return value;
  throw new InvalidArgumentError("It must be a whole number of MiB, 64 or more.");
}

/** "gl" is short for the configuration's "qemu-gl". */
function gpuKind(text: string): GpuKind {
  if (text === "vhost-user") return text;
  if (text === "gl" || text === "qemu-gl") return "qemu-gl";
  throw new InvalidArgumentError('It must be "vhost-user" or "gl".');
}

function vmCommand(name: string, prints: string): Command {
  return new Command(name)
    .description(`print ${prints} that a VM needs (QEMU ${minimumQemu} or newer)`)
    .requiredOption("--config <file>", "TOML configuration that names the VM's sockets")
    .option("--vm <name>", "name of the [[vm]]; optional if there is only one")
    .option("--memory <MiB>", "guest memory in MiB", mebibytes, 2048)
    .addOption(
      new Option(
        "--gpu <kind>",
        'the VM\'s GPU, "vhost-user" (`vsockenc gpu`) or "gl" (QEMU\'s virtio-gpu-gl); default: the configuration\'s gpu.kind',
      ).argParser(gpuKind),
    )
    .option("--library <file>", "gl: libvsockenc-virgl.so on the VM's host (default: that of this package)");
}

/** @throws ConfigurationError, VirglLibraryError */
function hypervisorGpu(vm: VmConfiguration, options: GpuOptions): HypervisorVm["gpu"] {
  const { name, export: exportSocket } = vm;
  const kind = options.gpu ?? vm.gpu?.kind;
  if (kind === undefined) return undefined;
  const { socket, heads, mode: modeText, users, venus } = vm.gpu ?? GPU_DEFAULTS;
  if (kind === "vhost-user") {
    if (socket !== undefined) return { kind, socket, heads };
    const what = "the socket of its GPU process";
    throw new ConfigurationError(`--gpu vhost-user needs gpu.socket in the [[vm]] ${name}: ${what}`);
  }
  if (exportSocket === undefined) {
    const what = "the socket where its QEMU serves the relay";
    throw new ConfigurationError(`--gpu gl needs export in the [[vm]] ${name}: ${what}`);
  }
  const mode = parseDisplayMode(modeText);
  if (mode === undefined) throw new ConfigurationError(`gpu.mode of the [[vm]] ${name} ${DISPLAY_MODE_RULE}`);
  const library = preloadableLibrary(options.library);
  return { kind, library, exportSocket, exportUsers: users, heads, mode, venus };
}

/** @throws ConfigurationError, VirglLibraryError */
function selectVm(options: VmOptions): HypervisorVm {
  const { vm: vms } = readConfiguration(options.config);
  const vm = options.vm === undefined && vms.length === 1 ? vms[0] : vms.find((v) => v.name === options.vm);
  if (vm === undefined) {
    const names = vms.map(({ name }) => name).join(", ");
    throw new ConfigurationError(`--vm must be one of: ${names}`);
  }
  return hypervisorVm(vm, options.memory, options);
}

/**
 * What a VM of a configuration needs of its hypervisor.
 *
 * @param options by default, the GPU is the configuration's
 * @throws ConfigurationError, VirglLibraryError
 */
export function hypervisorVm(vm: VmConfiguration, memoryMiB: number, options: GpuOptions = {}): HypervisorVm {
  const { name, ports, chardev } = vm;
  return { name, gpu: hypervisorGpu(vm, options), ports, chardev, memoryMiB };
}

/** Quotes a word for a shell. */
function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

interface QemuOptions extends VmOptions {
  readonly memoryBackend: MemoryBackend;
  readonly display?: GlDisplay;
  readonly environment?: true;
  readonly pretty?: true;
}

/** The variables as words for env(1). */
function environmentWords(vm: HypervisorVm): string {
  return Object.entries(qemuEnvironment(vm))
    .map(([name, value]) => shellQuote(`${name}=${value}`))
    .join(" ");
}

/** What the arguments do not say by themselves. */
function glNotes(vm: HypervisorVm, { venus }: QemuGlGpu, display: GlDisplay): string[] {
  return [
    `start QEMU with these variables (--environment prints them alone): env ${environmentWords(vm)}`,
    ...(display === "egl-headless"
      ? []
      : [
          `-display ${display},gl=on needs a window system (DISPLAY or WAYLAND_DISPLAY), and under Xvfb renders in software; on a host with a render node (/dev/dri/renderD*), use --display egl-headless`,
        ]),
    ...(venus ? ["Venus starts a program, virgl_render_server: not with -sandbox on,spawn=deny"] : []),
  ];
}

/** `vsockenc qemu-args`: prints the QEMU arguments that a VM needs. */
export function qemuArgsCommand(): Command {
  return vmCommand("qemu-args", "the QEMU arguments")
    .addOption(
      new Option("--memory-backend <kind>", "how the VM's memory is shared with its exporter")
        .choices(MEMORY_BACKENDS)
        .default(defaultMemoryBackend),
    )
    .addOption(
      new Option(
        "--display <type>",
        "gl: the display that gives the GPU its GL context; default: egl-headless if this host has a render node, otherwise sdl",
      ).choices(GL_DISPLAYS),
    )
    .option("--environment", "gl: print the variables of QEMU's environment instead, for env(1)")
    .option("--pretty", "print each argument with its value on a line of its own")
    .addHelpText(
      "after",
      `
A VM with --gpu gl also needs environment variables, which load the exporter into QEMU. They are noted on stderr:
  $ vm="--config host.toml --vm desk --gpu gl"
  $ env $(vsockenc qemu-args $vm --environment) qemu-system-x86_64 … $(vsockenc qemu-args $vm --memory 4096)`,
    )
    .action((options: QemuOptions) => {
      const vm = selectVm(options);
      if (options.environment) {
        console.log(environmentWords(vm));
        return;
      }
      const { memoryBackend, display } = options;
      const glDisplay = display ?? defaultGlDisplay();
      const text = qemuArguments(vm, { memoryBackend, glDisplay }).map(shellQuote).join(" ");
      console.log(options.pretty ? text.replaceAll(" -", " \\\n-") : text);
      if (vm.gpu?.kind === "qemu-gl") {
        for (const note of glNotes(vm, vm.gpu, glDisplay)) console.error(`note: ${note}`);
      }
    });
}

/** `vsockenc libvirt-xml`: prints a libvirt domain with the devices that a VM needs. */
export function libvirtXmlCommand(): Command {
  return vmCommand("libvirt-xml", "a libvirt domain with the devices")
    .addHelpText(
      "after",
      `
Copy memoryBacking, the channels, the video, the egl-headless graphics and qemu:commandline into your domain (virsh
edit NAME); keep xmlns:qemu on <domain>, without which libvirt drops qemu:commandline. Remove other <video> elements.
With a vhost-user GPU, remove <graphics> too, as VNC and SPICE do not work with it, and start \`vsockenc host\` before
the domain.`,
    )
    .action((options: VmOptions) => {
      const vm = selectVm(options);
      if (vm.gpu?.kind === "qemu-gl" && vm.gpu.venus) {
        throw new ConfigurationError(
          "gpu.venus cannot be expressed in libvirt's XML, and its sandbox (spawn=deny) blocks Venus: remove it, or start QEMU without libvirt",
        );
      }
      process.stdout.write(libvirtXml(vm));
    });
}
