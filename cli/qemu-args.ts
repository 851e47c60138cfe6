import { Command, Option } from "commander";
import { minimumQemu } from "../common/package-root.ts";
import { MEMORY_BACKENDS, type MemoryBackend, qemuArguments } from "../host/qemu-args.ts";
import { addVmOptions, selectVm, type VmOptions } from "./vm-options.ts";

interface Options extends VmOptions {
  readonly memoryBackend: MemoryBackend;
  readonly pretty?: true;
}

/** Quotes a word for a shell. */
function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `vsockenc qemu-args`: prints the QEMU arguments that a VM needs. */
export function qemuArgsCommand(): Command {
  return addVmOptions(new Command("qemu-args"))
    .description(`print the QEMU arguments that a VM needs (QEMU ${minimumQemu} or newer)`)
    .addOption(
      new Option("--memory-backend <kind>", "how the VM's memory is shared with its GPU process")
        .choices(MEMORY_BACKENDS)
        .default(process.platform === "linux" ? "memfd" : "shm"),
    )
    .option("--pretty", "print each argument with its value on a line of its own")
    .action((options: Options) => {
      const { memoryBackend } = options;
      const text = qemuArguments({ ...selectVm(options), memoryBackend })
        .map(shellQuote)
        .join(" ");
      console.log(options.pretty ? text.replaceAll(" -", " \\\n-") : text);
    });
}
