/** The options of commands that describe one VM of a configuration to a hypervisor. */
import { type Command, InvalidArgumentError } from "commander";
import { ConfigurationError, readConfiguration } from "../host/config.ts";
import type { LibvirtVm } from "../host/libvirt-xml.ts";

export interface VmOptions {
  readonly config: string;
  readonly vm?: string;
  readonly memory: number;
}

function mebibytes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 64 && value <= 16 * 1024 * 1024) return value;
  throw new InvalidArgumentError("It must be a whole number of MiB, 64 or more.");
}

export function addVmOptions(command: Command): Command {
  return command
    .requiredOption("--config <file>", "TOML configuration that names the VM's sockets")
    .option("--vm <name>", "name of the [[vm]]; optional if there is only one")
    .option("--memory <MiB>", "guest memory in MiB", mebibytes, 2048);
}

/** @throws ConfigurationError */
export function selectVm(options: VmOptions): LibvirtVm {
  const { vm: vms } = readConfiguration(options.config);
  const vm = options.vm === undefined && vms.length === 1 ? vms[0] : vms.find((v) => v.name === options.vm);
  if (vm === undefined) {
    const names = vms.map(({ name }) => name).join(", ");
    throw new ConfigurationError(`--vm must be one of: ${names}`);
  }
  const { name, ports, chardev, gpu } = vm;
  return { name, gpuSocket: gpu?.socket, heads: gpu?.heads ?? 1, ports, chardev, memoryMiB: options.memory };
}
