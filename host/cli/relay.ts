import { Command } from "commander";
import { readConfiguration } from "../config.ts";
import { createLogger } from "../log.ts";
import { Relay } from "../relay/relay.ts";
import { onTermination } from "./termination.ts";

/** `vsockenc relay`: serves the ports of the configuration's VMs until it is told to stop. */
export function relayCommand(): Command {
  return new Command("relay")
    .description("encode what guests send through their ports")
    .requiredOption("--config <file>", "TOML configuration (docs/configuration.md)")
    .addHelpText(
      "after",
      `
Example:
  $ cat relay.toml
  [[vm]]
  name = "desk"
  ports = ["/run/vsockenc/desk-port0.sock"]
  export = "/run/vsockenc/desk-export.sock"
  $ vsockenc relay --config relay.toml

The relay may be stopped, killed and started at any time; guests go on with a key frame.`,
    )
    .action(async ({ config }: { config: string }) => {
      const configuration = readConfiguration(config);
      const relay = await Relay.start(configuration, createLogger("relay", configuration.log.level));
      onTermination(() => relay.stop());
    });
}
