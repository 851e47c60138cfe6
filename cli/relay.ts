import { resolve } from "node:path";
import { Command } from "commander";
import type { Logger } from "pino";
import { errorText } from "../common/error-text.ts";
import { createLogger } from "../common/log.ts";
import { Cgroups } from "../host/cgroup.ts";
import { readConfiguration } from "../host/config.ts";
import { relayEncoders } from "../host/relay/encoders.ts";
import type { Applied, Relay } from "../host/relay/relay.ts";
import { parentOption } from "./options.ts";
import { onReload, onTermination, watchParent } from "./program.ts";

/** `vsockenc relay`: serves the ports of the configuration's VMs until a signal stops it. */
export function relayCommand(): Command {
  return new Command("relay")
    .description("encode the frames that guests send through their ports")
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

The relay may be stopped, killed and restarted at any time; streams resume with a key frame. SIGHUP has it read the
configuration again: VMs that were added or removed come and go, and the others do not notice.`,
    )
    .addOption(parentOption())
    .action(async ({ config, parentFd }: { config: string; parentFd?: number }) => {
      const configuration = readConfiguration(config);
      const log = createLogger("relay", configuration.log.level);
      // Before any other process is started.
      const cgroups = configuration.isolation === "vm" ? Cgroups.open("workers", log) : undefined;
      // Encoders are probed while the rest of the program loads.
      const backend = relayEncoders(configuration.encoder, log);
      // Imported here, so that --help and all other commands work without the addons.
      const [{ Relay }, { viewerOf }, { isolationOf }, { onWatchError }, controls, { os }] =
        await Promise.all([
          import("../host/relay/relay.ts"),
          import("../host/heads/browser-viewer.ts"),
          import("../host/workers/isolation.ts"),
          import("../host/native/poller.ts"),
          import("../host/relay/control.ts"),
          import("../host/native/os-addon.ts"),
        ]);
      const { enabled, socket: named = controls.controlPath(process.env) } = configuration.control;
      const socket = enabled ? named : undefined;
      // Most likely no descriptors are left; listeners retry by themselves.
      onWatchError((error) => log.error({ err: error }, "cannot accept a connection"));
      const isolation = isolationOf(configuration, log, cgroups);
      const start = async (): Promise<Relay> => {
        if (socket !== undefined) await refuseSecond(socket, config);
        return Relay.start(configuration, log, viewerOf(configuration), isolation?.isolate, backend);
      };
      const started = start();
      // Its error is that of `await started`, below.
      started.catch(() => undefined);
      let parent: { close(): void } | undefined;
      let control: { close(): void } | undefined;
      const stop = onTermination(() => {
        isolation?.close();
        parent?.close();
        control?.close();
        void started.then((relay) => relay.stop());
      });
      if (parentFd !== undefined) parent = await watchParent(parentFd, stop);
      const reload = async (): Promise<Applied> => {
        const applied = await readAgain(await started, config, log);
        // `vsockenc host` has GPU processes to start and end.
        if (parentFd !== undefined) os.send(parentFd, RELOADED, 0, []);
        return applied;
      };
      onReload(() => void reload().catch(() => undefined));
      const relay = await started;
      if (socket === undefined) return;
      control = controls.ControlServer.open(
        socket,
        async (request) => {
          if (request.type === "list") return { ...reportOf(relay), file: resolve(config) };
          const { closed, opened, later } = await reload();
          return { type: "applied", closed: [...closed], opened: [...opened], later: [...later] };
        },
        log,
      );
    });
}

/** Another relay serves the same VMs. */
class SecondRelayError extends Error {
  override readonly name = "SecondRelayError";
}

/** @throws SecondRelayError if a relay that answers there has the same configuration */
async function refuseSecond(socket: string, config: string): Promise<void> {
  const { askControl } = await import("../host/relay/control.ts");
  const { listeningProcess } = await import("../host/native/listener.ts");
  const pid = listeningProcess(socket);
  const answer = await askControl(socket, { type: "list" }).catch(() => undefined);
  if (answer?.type !== "vms" || answer.file !== resolve(config)) return;
  throw new SecondRelayError(
    `another relay, process ${pid}, serves ${answer.file}: stop it first, or have it read the file again with \`vsockenc vm reload\``,
  );
}

/** A byte for the parent: the configuration has been read again. */
const RELOADED = Buffer.from("r");

function reportOf(relay: Relay) {
  const vms = relay.vms().map(({ fault, links, ...vm }) => ({
    ...vm,
    ...(fault === undefined ? {} : { fault }),
    links: links.map(({ name, connections }) => ({ name, connections })),
  }));
  const viewer = relay.viewerAddress;
  return { type: "vms", vms, ...(viewer === undefined ? {} : { viewer }) } as const;
}

/** Reads the configuration again. @throws ConfigurationError, SocketError: nothing has changed */
async function readAgain(relay: Relay, config: string, log: Logger): Promise<Applied> {
  try {
    const applied = await relay.apply(readConfiguration(config));
    const { closed, opened, later } = applied;
    log.info({ closed, opened }, "configuration read again");
    if (later.length > 0) log.warn({ tables: later }, "changes of these tables count at the next start");
    return applied;
  } catch (error) {
    log.error(`the configuration stays as it was: ${errorText(error)}`);
    throw error;
  }
}
