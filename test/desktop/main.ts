/**
 * `npm run desktop`: a real guest's desktop in a browser.
 *
 * Boots a VM with a desktop and the vsockenc GPU, starts a relay with its viewer, and prints the address. The viewer
 * offers two sources: the VM's head, which needs no software in the guest, and the stream of `virtgpusrc ! vsockenc` in
 * the guest. With --gl, the host's GPU (here llvmpipe) renders for the guest, and there is only the stream.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { until } from "../support/until.ts";
import { wholeNumber } from "../support/whole-number.ts";
import type { SupervisedProcess } from "../vm/child.ts";
import { startRelay, vmSection } from "../vm/host-processes.ts";
import { DESKTOPS, type Desktop } from "../vm/image.ts";
import { Vm } from "../vm/vm.ts";

interface Options {
  readonly desktop: Desktop;
  readonly mode: string;
  readonly port: number;
  readonly bitrate: number;
  readonly gl: boolean;
}

const CAPTURE_FPS = 30;

function say(line: string): void {
  console.error(`[desktop] ${line}`);
}

/** The page's address, as the relay logs it. */
async function viewerAddress(relay: SupervisedProcess): Promise<string> {
  const logged = () => /"address":"(http[^"]+)"/.exec(relay.log)?.[1];
  await until(() => logged() !== undefined || !relay.alive, "the viewer's address in the relay's log");
  return logged() ?? (await relay.failure());
}

async function run({ desktop, mode, port, bitrate, gl }: Options): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-desktop-"));
  const end = Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  let vm: Vm | undefined;
  let relay: SupervisedProcess | undefined;
  try {
    vm = await Vm.boot({ gpu: gl ? "gl" : "vsockenc", desktop, mode, relay: false, log: say });
    const config = join(folder, "relay.toml");
    const viewer = `status.enabled = false\nviewer = { enabled = true, port = ${port} }\n`;
    writeFileSync(config, viewer + vmSection("desktop", vm, `view = { heads = ${!gl} }`));
    relay = startRelay(config);
    const address = await viewerAddress(relay);
    // The cursor cannot be drawn into a picture that the guest's CPU cannot read.
    const capture = `virtgpusrc cursor=${!gl} ! "video/x-raw(ANY),framerate=${CAPTURE_FPS}/1"`;
    const pipeline = vm.start(
      `exec gst-launch-1.0 -q ${capture} ! vsockenc bitrate=${bitrate} ! fakesink sync=false`,
      { onOutput: (_stream, data) => process.stderr.write(data) },
    );
    pipeline.done.then(
      ({ status }) => say(`the guest's pipeline ended with status ${status}; its screen is still shown`),
      () => {}, // the machine was shut down
    );
    console.log(`\nOpen in a browser on this machine:\n\n  ${address}\n\nPress Ctrl-C to stop.`);
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
  .option("--port <number>", "port of 127.0.0.1 for the page; 0: any free port", wholeNumber(0, 65535), 8844)
  .option("--bitrate <kbit/s>", "bit rate of the guest's stream", wholeNumber(100, 1_000_000), 6000)
  .option("--gl", "let the host render (virtio-gpu-gl under Xvfb), and weston use OpenGL", false)
  .action(run)
  .parseAsync();
