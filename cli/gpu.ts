/**
 * `vsockenc gpu`: the virtio-gpu of one VM. The options follow QEMU's conventions for vhost-user back ends
 * (docs/interop/vhost-user.rst, "Backend program conventions"), so that libvirt can start it as well.
 */
import { Command, Option } from "commander";
import { createLogger, LOG_LEVELS, type LogLevel } from "../common/log.ts";
import type { DisplayMode } from "../host/gpu/display-mode.ts";
import type { GpuService, VhostEndpoint } from "../host/gpu/service.ts";
import { descriptor, headsOption, modeOption, parentOption, wholeNumber } from "./options.ts";
import { onReload, onTermination, watchParent } from "./program.ts";

/** The answer to libvirt's query of capabilities: no rendering. docs/interop/vhost-user.json */
const CAPABILITIES = { type: "gpu", features: [] };

interface Flags {
  readonly socketPath?: string;
  readonly fd?: number;
  readonly exportPath?: string;
  readonly exportUid: readonly number[];
  readonly heads: number;
  readonly mode: DisplayMode;
  readonly record?: string;
  readonly parentFd?: number;
  readonly logLevel: LogLevel;
  readonly printCapabilities?: true;
}

function endpoint(flags: Flags, command: Command): VhostEndpoint {
  if (flags.socketPath !== undefined && flags.fd === undefined) {
    return { kind: "path", path: flags.socketPath };
  }
  if (flags.fd !== undefined && flags.socketPath === undefined) return { kind: "descriptor", fd: flags.fd };
  return command.error("error: expected either --socket-path PATH or --fd N");
}

/** Serves the VM until QEMU ends (exit status 0) or a signal arrives. */
async function serve(flags: Flags, command: Command): Promise<void> {
  const { heads, mode, exportPath, exportUid, record, parentFd } = flags;
  const served = endpoint(flags, command);
  // Imported here, so that --help and --print-capabilities work without the addon.
  const [{ confineSelf, filterSystemCalls }, { GPU_SYSTEM_CALLS, gpuRules }] = await Promise.all([
    import("../host/native/sandbox.ts"),
    import("../host/gpu/sandbox.ts"),
  ]);
  const paths = [served.kind === "path" ? served.path : [], exportPath ?? []].flat();
  const descriptors = [served.kind === "descriptor" ? served.fd : [], parentFd ?? []].flat();
  const unconfined = confineSelf(gpuRules(paths, record), descriptors);
  const log = createLogger("gpu", flags.logLevel);
  if (unconfined !== undefined) log.warn({ reason: unconfined }, "runs without a sandbox for files");
  const [{ GpuService: Service }, { onWatchError }] = await Promise.all([
    import("../host/gpu/service.ts"),
    import("../host/native/poller.ts"),
  ]);
  // QEMU never reconnects a GPU, so this process logs internal errors and continues.
  const survive = (error: unknown) => log.error({ err: error }, "internal error; please report it");
  onWatchError(survive);
  process.on("uncaughtException", survive);
  let service: GpuService | undefined;
  // First, so that a signal that arrives at once leaves no socket file behind.
  onTermination(() => service?.close());
  onReload();
  const sockets = { endpoint: served, exportPath, exportUsers: exportUid };
  service = new Service({ ...sockets, heads, mode, recordPath: record }, log);
  if (parentFd !== undefined) {
    const watch = await watchParent(parentFd, () => {
      if (service?.engaged === false) service.close();
    });
    void service.ended.finally(() => watch.close());
  }
  filterSystemCalls(GPU_SYSTEM_CALLS, log);
  await service.ended;
}

const EXAMPLES = `
Examples:
  vsockenc gpu --socket-path /run/vm1/gpu.sock --export-path /run/vm1/export.sock
  vsockenc gpu --socket-path gpu.sock --export-path export.sock --heads 2 --mode 1920x1080

Start QEMU (10.0 or later) afterwards, with shared memory for the guest:
  -object memory-backend-memfd,id=ram,size=2G,share=on -machine q35,memory-backend=ram
  -chardev socket,id=gpu,path=/run/vm1/gpu.sock
  -device vhost-user-gpu-pci,chardev=gpu,max_outputs=1 -vga none -display none
With several heads, set max_outputs to their number: QEMU decides how many the guest sees.

The process serves one run of the VM. It ends with status 0 when QEMU ends, with status 2 for wrong arguments.`;

/** The subcommand. */
export function gpuCommand(): Command {
  return new Command("gpu")
    .description("run the virtio-gpu of one VM: a vhost-user back end whose pictures relays can read")
    .option("--socket-path <path>", "listen here for QEMU")
    .option("--fd <number>", "inherited socket, connected to QEMU or listening for it", descriptor)
    .option("--export-path <path>", "listen here for relays")
    .addOption(
      new Option(
        "--export-uid <uid>",
        "user id that may connect there, and so read the guest's memory; repeatable",
      )
        .argParser((text, users: readonly number[]) => [...users, wholeNumber(text, 0, 2 ** 32 - 2)])
        .default([], "our own user and root"),
    )
    .addOption(headsOption())
    .addOption(modeOption())
    .option(
      "--record <file>",
      "record the requests of QEMU and of the guest's driver, with the answers (for debugging)",
    )
    .addOption(parentOption("before QEMU has connected"))
    .option("--print-capabilities", "print the capabilities as JSON (for libvirt) and exit")
    .addOption(new Option("--log-level <level>", "least severe level").choices(LOG_LEVELS).default("info"))
    .addHelpText("after", EXAMPLES)
    .action(async (flags: Flags, command: Command) => {
      if (flags.printCapabilities) {
        console.log(JSON.stringify(CAPABILITIES));
        return;
      }
      await serve(flags, command);
    });
}
