import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { until } from "../../support/until.ts";
import { BLOCK_FRAMES, blockCount, type Case, FULL_HD } from "../case.ts";
import { echoProcess } from "../support/echo-client.ts";
import { echoExchange, echoScript, frameTimes, relayScript } from "../support/port-script.ts";
import { relayConfiguration, relayProcess } from "../support/rig.ts";
import { type RoundTrips, shareFindings } from "./relay-share.ts";

/** First frames of a block, sent by a process that has just started. */
const WARM_UP = 20;
const RESOURCE = 1;

/**
 * The relay's share of the latency in the guest: over a virtserialport, through QEMU and back. The guest's side is a
 * small C program, so neither GStreamer nor the element is measured.
 */
export const vmRelayShare: Case = {
  name: "vm-relay-share",
  what: "the relay's share of the latency inside a VM, against a bare echo over the same kind of port",
  inVm: true,
  async run(context) {
    const bench = await context.vm();
    const { accelerator } = bench.vm;
    const exportPath = join(bench.folder, "export");
    const exporter = new MemfdExporter({ path: exportPath, bytes: 1 << 24 }, pino({ level: "silent" }));
    exporter.create(RESOURCE, FULL_HD);
    const config = join(bench.folder, "null.toml");
    writeFileSync(config, relayConfiguration("null", [bench.socket("relay")], exportPath));
    const exchange = echoExchange();
    const relay = relayProcess(config, true);
    const echo = echoProcess(bench.socket("echo"), exchange, bench.folder);
    try {
      relay.start();
      echo.start();
      await until(() => relay.log.includes("connected to QEMU's chardev"), "the relay's port");
      const frames = BLOCK_FRAMES + WARM_UP;
      const ping = async (name: "relay" | "echo", script: Buffer): Promise<number[]> => {
        writeFileSync(join(bench.inDir, name), script);
        const printed = await bench.vm.succeed(`port-ping ${bench.device(name)} /in/${name}`);
        return frameTimes(printed).slice(WARM_UP);
      };
      const times: RoundTrips = { relay: [], echo: [] };
      for (let block = 0; block < blockCount(context.frames); block += 1) {
        times.relay.push(...(await ping("relay", relayScript(block + 1, FULL_HD, RESOURCE, frames))));
        times.echo.push(...(await ping("echo", echoScript(exchange, frames))));
      }
      const chart = {
        file: "vm-relay-share",
        link: `virtserialport (${accelerator})`,
        percentiles: [50, 95],
      };
      return shareFindings(times, `inside the VM (${accelerator})`, chart);
    } finally {
      await relay.stop();
      await echo.stop();
      exporter.close();
    }
  },
};
