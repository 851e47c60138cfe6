import { Command } from "commander";
import { createLogger } from "../common/log.ts";
import { readConfiguration } from "../host/config.ts";
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
      const log = createLogger("relay", configuration.log.level);
      // Here, so that --help and every other command work without the addons.
      const [{ Relay }, { viewerOf }, { onWatchError }] = await Promise.all([
        import("../host/relay/relay.ts"),
        import("../host/heads/browser-viewer.ts"),
        import("../host/native/poller.ts"),
      ]);
      // No descriptors left, most likely; a listener tries again by itself.
      onWatchError((error) => log.error({ err: error }, "a connection could not be accepted"));
      const relay = await Relay.start(configuration, log, viewerOf(configuration));
      onTermination(() => relay.stop());
    });
}
