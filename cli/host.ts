import { Command } from "commander";
import { errorText } from "../common/error-text.ts";
import { createLogger } from "../common/log.ts";
import { Cgroups } from "../host/cgroup.ts";
import { readConfiguration } from "../host/config.ts";
import { onReload, onTermination } from "./program.ts";

/** `vsockenc host`: keeps the GPU processes of all configured VMs and one relay running. */
export function hostCommand(): Command {
  return new Command("host")
    .description("keep a GPU process for each VM that has one, and one relay for all VMs, running")
    .requiredOption("--config <file>", "TOML configuration (docs/configuration.md)")
    .addHelpText(
      "after",
      `
Example:
  $ cat host.toml
  [[vm]]
  name = "desk"
  ports = ["/run/vsockenc/desk-port0.sock"]
  export = "/run/vsockenc/desk-export.sock"
  gpu = { socket = "/run/vsockenc/desk-gpu.sock", heads = 1, mode = "1920x1080" }
  $ vsockenc host --config host.toml &
  $ qemu-system-x86_64 … $(vsockenc qemu-args --config host.toml --vm desk)

A VM with gpu = { kind = "qemu-gl" } has QEMU's own GPU, which renders, and no GPU process (docs/rendered-guests.md).
A GPU process ends with its VM and is restarted for the VM's next start. The relay is restarted when it ends; streams
resume with a key frame. Restarts back off, from 0.1 s up to 10 s. A process that ends with status 2 (wrong arguments or
configuration) is not restarted.

Files in host.d, beside host.toml, add VMs and listeners. SIGHUP has the configuration read again: VMs come and go, and the
others do not notice. The GPU of a running VM outlives this program, however it ends; the next one finds it.`,
    )
    .action(async ({ config }: { config: string }) => {
      const configuration = readConfiguration(config);
      const log = createLogger("host", configuration.log.level);
      const hasGpus = configuration.vm.some(({ gpu }) => gpu?.socket !== undefined);
      const cgroups = Cgroups.open(hasGpus ? "GPU processes" : "workers", log);
      // Imported here, so that --help works without the addons.
      const { Supervisor } = await import("../host/supervisor.ts");
      const reload = (): void => {
        try {
          supervisor.apply(readConfiguration(config));
        } catch (error) {
          log.error(`the configuration stays as it was: ${errorText(error)}`);
        }
      };
      const supervisor = new Supervisor(config, log, cgroups, reload);
      onTermination(() => supervisor.stop());
      onReload(() => {
        reload();
        supervisor.reload();
      });
      supervisor.apply(configuration);
    });
}
