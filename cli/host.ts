import { Command } from "commander";
import { createLogger } from "../common/log.ts";
import { readConfiguration } from "../host/config.ts";
import { Supervisor } from "../host/supervisor.ts";
import { onTermination } from "./termination.ts";

/** `vsockenc host`: the GPU processes of all configured VMs and one relay, kept running. */
export function hostCommand(): Command {
  return new Command("host")
    .description("run a GPU process for each VM and one relay for all, and keep them running")
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

A GPU process lives as long as its VM, and is started again for the VM's next start. The relay is started
again when it ends, with back-off; guests go on with a key frame.`,
    )
    .action(({ config }: { config: string }) => {
      const configuration = readConfiguration(config);
      const supervisor = new Supervisor(configuration, config, createLogger("host", configuration.log.level));
      supervisor.start();
      onTermination(() => supervisor.stop());
    });
}
