/**
 * `npm run desktop`: a real guest's desktop in a browser.
 *
 * Boots the VM with a desktop and the vsockenc GPU, starts a relay with its viewer, and prints the address. Two sources
 * are there: the VM's head, which the host encodes with no software in the guest, and what `virtgpusrc ! vsockenc` in the
 * guest sends to be encoded.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { packageRoot } from "../../common/package-root.ts";
import type { SupervisedProcess } from "../vm/child.ts";
import { startRelay } from "../vm/host-processes.ts";
import { DESKTOPS, type Desktop } from "../vm/image.ts";
import { Vm } from "../vm/vm.ts";
import { poll } from "../vm/wait.ts";

interface Options {
  readonly desktop: Desktop;
  readonly mode: string;
  readonly port: number;
  readonly bitrate: number;
}

const CAPTURE_FPS = 30;
const VIEWER_START_MS = 30_000;

function say(line: string): void {
  console.error(`[desktop] ${line}`);
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`a whole number from ${least} to ${most}.`);
  };
}

/** TOML of a relay that shows the VM's head and its port's stream. */
function relayConfiguration(vm: Vm, port: number): string {
  return `log = { level = "info" }
status = { enabled = false }
viewer = { enabled = true, port = ${port} }
[[vm]]
name = "desktop"
ports = [${JSON.stringify(vm.portSocket)}]
export = ${JSON.stringify(vm.exportSocket)}
view = { heads = true }
`;
}

/** The page's address, as the relay logs it. */
async function viewerAddress(relay: SupervisedProcess): Promise<string> {
  const logged = (): string | undefined => {
    if (!relay.alive) throw new Error(`the relay has ended:\n${relay.log}`);
    return /"address":"(http[^"]+)"/.exec(relay.log)?.[1];
  };
  return await poll(logged, VIEWER_START_MS, "The viewer's address in the relay's log");
}

/** Settles when the user wants to end. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
}

async function run({ desktop, mode, port, bitrate }: Options): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-desktop-"));
  const end = interrupted();
  let vm: Vm | undefined;
  let relay: SupervisedProcess | undefined;
  try {
    vm = await Vm.boot({ desktop, mode, relay: false, log: say });
    const config = join(folder, "relay.toml");
    writeFileSync(config, relayConfiguration(vm, port));
    relay = startRelay(packageRoot, config, () => {});
    const address = await viewerAddress(relay);
    const capture = `virtgpusrc cursor=true ! "video/x-raw(ANY),framerate=${CAPTURE_FPS}/1"`;
    const pipeline = vm.start(
      `exec gst-launch-1.0 -q ${capture} ! vsockenc bitrate=${bitrate} ! fakesink sync=false`,
      { onOutput: (_stream, data) => process.stderr.write(data) },
    );
    pipeline.done.then(
      ({ status }) => say(`the guest's pipeline has ended with status ${status}; its screen is still there`),
      () => {}, // the machine was shut down under it
    );
    console.log(`\nOpen in a browser on this machine:\n\n  ${address}\n\nCtrl-C ends it.`);
    await end;
    say("shutting down");
  } finally {
    await relay?.stop();
    await vm?.shutdown();
    rmSync(folder, { recursive: true, force: true });
  }
}

await new Command("npm run desktop --")
  .description("boot a real guest with a desktop, and show it in a browser")
  .addOption(new Option("--desktop <kind>", "what runs on the screen").choices(DESKTOPS).default("weston"))
  .option("--mode <size>", "size of the screen, WIDTHxHEIGHT", "1280x720")
  .option("--port <number>", "port of 127.0.0.1 for the page; 0: any that is free", whole(0, 65535), 8844)
  .option("--bitrate <kbit/s>", "of the guest's stream", whole(100, 1_000_000), 6000)
  .action(run)
  .parseAsync();
