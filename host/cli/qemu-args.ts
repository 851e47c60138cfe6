import { Command, InvalidArgumentError } from "commander";
import { ConfigurationError, readConfiguration } from "../config.ts";
import { minimumQemu } from "../package-root.ts";
import { qemuArguments } from "../qemu-args.ts";

interface Options {
  readonly config: string;
  readonly vm?: string;
  readonly memory: number;
  readonly pretty?: true;
}

function mebibytes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 64 && value <= 16 * 1024 * 1024) return value;
  throw new InvalidArgumentError("a whole number of MiB, 64 or more.");
}

/** As a shell would have to read it. */
function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `vsockenc qemu-args`: prints what to add to a VM's command line. */
export function qemuArgsCommand(): Command {
  return new Command("qemu-args")
    .description(`print what to add to a VM's QEMU command line (QEMU ${minimumQemu} or newer)`)
    .requiredOption("--config <file>", "TOML configuration that names the VM's sockets")
    .option("--vm <name>", "which [[vm]]; may be left out when there is one only")
    .option("--memory <MiB>", "guest memory in MiB", mebibytes, 2048)
    .option("--pretty", "one argument with its value a line, for reading")
    .action((options: Options) => {
      const { vm: vms } = readConfiguration(options.config);
      const vm =
        options.vm === undefined && vms.length === 1 ? vms[0] : vms.find((v) => v.name === options.vm);
      if (vm === undefined) {
        const names = vms.map(({ name }) => name).join(", ");
        throw new ConfigurationError(`--vm must be one of: ${names}`);
      }
      const words = qemuArguments({
        gpuSocket: vm.gpu?.socket,
        heads: vm.gpu?.heads ?? 1,
        ports: vm.ports,
        chardev: vm.chardev,
        memoryMiB: options.memory,
      }).map(shellQuote);
      const text = words.join(" ");
      console.log(options.pretty ? text.replaceAll(" -", " \\\n-") : text);
    });
}
