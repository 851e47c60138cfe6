import { Command, Option } from "commander";
import { minimumQemu } from "../common/package-root.ts";
import { MEMORY_BACKENDS, type MemoryBackend, qemuArguments } from "../host/qemu-args.ts";
import { addVmOptions, selectVm, type VmOptions } from "./vm-options.ts";

interface Options extends VmOptions {
  readonly memoryBackend: MemoryBackend;
  readonly pretty?: true;
}

/** As a shell would have to read it. */
function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `vsockenc qemu-args`: prints what to add to a VM's command line. */
export function qemuArgsCommand(): Command {
  return addVmOptions(new Command("qemu-args"))
    .description(`print what to add to a VM's QEMU command line (QEMU ${minimumQemu} or newer)`)
    .addOption(
      new Option("--memory-backend <kind>", "how the VM's memory is shared with its GPU process")
        .choices(MEMORY_BACKENDS)
        .default(process.platform === "linux" ? "memfd" : "shm"),
    )
    .option("--pretty", "one argument with its value a line, for reading")
    .action((options: Options) => {
      const { memoryBackend } = options;
      const text = qemuArguments({ ...selectVm(options), memoryBackend })
        .map(shellQuote)
        .join(" ");
      console.log(options.pretty ? text.replaceAll(" -", " \\\n-") : text);
    });
}
