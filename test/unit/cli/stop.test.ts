/** An ordinary stop of `vsockenc relay` and `vsockenc host` ends with status 0, whatever they are doing. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it, onTestFinished } from "vitest";
import { expectOrderlyStops, type Program, startProgram } from "../../support/program.ts";
import { ConnectedGuest, PICTURE_BYTES } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

/** Starts a program with one VM, and settles when the relay serves it. */
async function started(command: string, folder: string): Promise<Program> {
  const gpu = command === "host" ? `gpu = { socket = "${folder}/g" }\nexport = "${folder}/e"` : "";
  const vm = `[[vm]]\nname = "a"\nchardev = "client"\nports = ["${folder}/p"]\n${gpu}`;
  writeFileSync(join(folder, "host.toml"), `encoder.order = ["libx264"]\nstatus.enabled = false\n${vm}`);
  const program = startProgram(command, "--config", join(folder, "host.toml"));
  // The socket file alone is no sign of it: a connection between bind and listen is refused.
  await until(() => program.output.includes('"msg":"listening"'), "the port");
  if (command === "host") await until(() => existsSync(join(folder, "e")), "the exporter");
  return program;
}

/** Streams through the VM's port for as long as the relay serves it; settles with the first packet. */
async function stream(folder: string, resources: boolean): Promise<void> {
  const guest = new ConnectedGuest(join(folder, "p"));
  onTestFinished(() => void guest.socket.destroy());
  await guest.open(resources);
  guest.configure(1);
  guest.attach(0, 0);
  const pixels = Buffer.alloc(PICTURE_BYTES);
  const send = async (): Promise<void> => {
    for (let frame = 1; !guest.closed; frame += 1) {
      await guest.inlineFrame(frame, 0, pixels);
      await until(() => guest.closed || guest.all("packet").length >= frame, "a packet");
    }
  };
  // A wait for credit never ends once the relay has stopped.
  void send().catch(() => undefined);
  await guest.next("packet", 1);
}

it.each([
  ["relay", "idle"],
  ["relay", "streaming"],
  ["host", "idle"],
  ["host", "streaming"],
])("%s stops with status 0 twenty times: %s", async (command, state) => {
  await expectOrderlyStops(async (folder) => {
    const program = await started(command, folder);
    if (state === "streaming") await stream(folder, command === "host");
    return program;
  });
});
