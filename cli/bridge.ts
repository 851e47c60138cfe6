import { Command } from "commander";
import { createLogger } from "../common/log.ts";
import { onTermination } from "./program.ts";

interface BridgeOptions {
  readonly config?: string;
  readonly source?: string;
  readonly pipeline?: string;
}

/** `vsockenc bridge`: shows this guest's screen in browsers. */
export function bridgeCommand(): Command {
  return new Command("bridge")
    .description("show this guest's screen in browsers, encoded on the host")
    .option("--config <file>", "TOML configuration (docs/bridge.md)")
    .option("--source <elements>", "GStreamer elements that capture instead of the screen")
    .option("--pipeline <elements>", "the whole pipeline, ending in: appsink name=videosink")
    .addHelpText(
      "after",
      `
Examples:
  $ vsockenc bridge
  http://127.0.0.1:8844/?token=…
  $ vsockenc bridge --source "pipewiresrc path=42 do-timestamp=true ! videoconvert"
  $ vsockenc bridge --pipeline "videotestsrc is-live=true ! vsockenc ! appsink name=videosink sync=false"

The pipeline runs while a viewer watches. By default it captures with virtgpusrc if it has the privilege to, else with
pipewiresrc. By default only this machine can open the page; from another one, use
ssh -L 8844:127.0.0.1:8844 GUEST. docs/bridge.md shows the configuration for a port that the VM's host forwards.`,
    )
    .action(async ({ config, source, pipeline }: BridgeOptions) => {
      // Imported here, so that all other commands work without the viewer's server.
      const [{ startBridge }, { bridgeConfiguration }] = await Promise.all([
        import("../guest/bridge/bridge.ts"),
        import("../guest/bridge/configuration.ts"),
      ]);
      const configuration = bridgeConfiguration(config, { source, pipeline });
      const log = createLogger("bridge", configuration.log.level);
      const started = startBridge(configuration, log);
      onTermination(() => void started.then((bridge) => bridge.close()));
      console.log((await started).addresses().join("\n"));
    });
}
