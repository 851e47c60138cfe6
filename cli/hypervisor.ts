/** The commands that describe one VM of a configuration to a hypervisor. */
import { Command, InvalidArgumentError, Option } from "commander";
import { minimumQemu } from "../common/package-root.ts";
import { ConfigurationError, readConfiguration } from "../host/config.ts";
import {
  type HypervisorVm,
  libvirtXml,
  MEMORY_BACKENDS,
  type MemoryBackend,
  qemuArguments,
} from "../host/hypervisor.ts";

interface VmOptions {
  readonly config: string;
  readonly vm?: string;
  readonly memory: number;
}

function mebibytes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 64 && value <= 16 * 1024 * 1024) return value;
  throw new InvalidArgumentError("It must be a whole number of MiB, 64 or more.");
}

function vmCommand(name: string, prints: string): Command {
  return new Command(name)
    .description(`print ${prints} that a VM needs (QEMU ${minimumQemu} or newer)`)
    .requiredOption("--config <file>", "TOML configuration that names the VM's sockets")
    .option("--vm <name>", "name of the [[vm]]; optional if there is only one")
    .option("--memory <MiB>", "guest memory in MiB", mebibytes, 2048);
}

/** @throws ConfigurationError */
function selectVm(options: VmOptions): HypervisorVm {
  const { vm: vms } = readConfiguration(options.config);
  const vm = options.vm === undefined && vms.length === 1 ? vms[0] : vms.find((v) => v.name === options.vm);
  if (vm === undefined) {
    const names = vms.map(({ name }) => name).join(", ");
    throw new ConfigurationError(`--vm must be one of: ${names}`);
  }
  const { name, ports, chardev, gpu } = vm;
  return { name, gpuSocket: gpu?.socket, heads: gpu?.heads ?? 1, ports, chardev, memoryMiB: options.memory };
}

/** Quotes a word for a shell. */
function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `vsockenc qemu-args`: prints the QEMU arguments that a VM needs. */
export function qemuArgsCommand(): Command {
  return vmCommand("qemu-args", "the QEMU arguments")
    .addOption(
      new Option("--memory-backend <kind>", "how the VM's memory is shared with its GPU process")
        .choices(MEMORY_BACKENDS)
        .default(process.platform === "linux" ? "memfd" : "shm"),
    )
    .option("--pretty", "print each argument with its value on a line of its own")
    .action((options: VmOptions & { readonly memoryBackend: MemoryBackend; readonly pretty?: true }) => {
      const text = qemuArguments(selectVm(options), options.memoryBackend).map(shellQuote).join(" ");
      console.log(options.pretty ? text.replaceAll(" -", " \\\n-") : text);
    });
}

/** `vsockenc libvirt-xml`: prints a libvirt domain with the devices that a VM needs. */
export function libvirtXmlCommand(): Command {
  return vmCommand("libvirt-xml", "a libvirt domain with the devices")
    .addHelpText(
      "after",
      `
Copy memoryBacking, the channels, the video and qemu:commandline into your domain (virsh edit NAME); keep
xmlns:qemu on <domain>, without which libvirt drops qemu:commandline. Remove <graphics>: VNC and SPICE do not
work with this GPU. Start \`vsockenc host\` before the domain.`,
    )
    .action((options: VmOptions) => {
      process.stdout.write(libvirtXml(selectVm(options)));
    });
}
