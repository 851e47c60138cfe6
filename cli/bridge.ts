import { Command } from "commander";
import { createLogger } from "../common/log.ts";
import { onTermination } from "./termination.ts";

interface BridgeOptions {
  readonly config?: string;
  readonly source?: string;
  readonly pipeline?: string;
}

/** `vsockenc bridge`: this guest's screen in browsers. */
export function bridgeCommand(): Command {
  return new Command("bridge")
    .description("show this guest's screen in browsers, encoded on the host")
    .option("--config <file>", "TOML configuration (docs/bridge.md)")
    .option("--source <elements>", "elements that capture, in place of the screen")
    .option("--pipeline <elements>", "the whole pipeline, which ends in: appsink name=videosink")
    .addHelpText(
      "after",
      `
Examples:
  $ vsockenc bridge
  http://127.0.0.1:8844/?token=…
  $ vsockenc bridge --source "pipewiresrc path=42 do-timestamp=true ! videoconvert"
  $ vsockenc bridge --pipeline "videotestsrc is-live=true ! vsockenc ! appsink name=videosink sync=false"

The pipeline runs while somebody watches. Without --source it captures with virtgpusrc where it may, else with
pipewiresrc. The page is for this machine alone unless the configuration says otherwise; from another one:
ssh -L 8844:127.0.0.1:8844 GUEST. docs/bridge.md has the configuration for a port that the VM's host forwards.`,
    )
    .action(async ({ config, source, pipeline }: BridgeOptions) => {
      // Here, so that every other command works without the viewer's server.
      const [{ Bridge }, { bridgeConfiguration }] = await Promise.all([
        import("../guest/bridge/bridge.ts"),
        import("../guest/bridge/configuration.ts"),
      ]);
      const configuration = bridgeConfiguration(config, { source, pipeline });
      const log = createLogger("bridge", configuration.log.level);
      const bridge = await Bridge.start(configuration, log);
      console.log(bridge.addresses().join("\n"));
      onTermination(() => void bridge.close());
    });
}
