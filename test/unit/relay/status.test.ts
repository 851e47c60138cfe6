import { get } from "node:http";
import { createServer } from "node:net";
import { pino } from "pino";
import { beforeEach, describe, expect, it } from "vitest";
import { freePort } from "../../support/free-port.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { until } from "../../support/until.ts";

interface Answer {
  readonly status: number;
  readonly text: string;
}

function ask(port: number, path: string, host = "127.0.0.1"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = get({ port, path, host: "127.0.0.1", headers: { host }, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on("error", reject);
  });
}

describe("the status page", () => {
  const bench = relayBench();
  let port: number;
  beforeEach(async () => {
    port = await freePort();
  });

  const start = async (log?: pino.Logger): Promise<void> => {
    const { folder } = bench;
    const vm = `[[vm]]\nname = "a"\nchardev = "client"\nports = ["${folder}/p"]\nexport = "${folder}/e"\n`;
    await bench.start(`status.port = ${port}\n${vm}`, { log });
  };

  it("counts frames, bytes, tiers and stages, and says what is up", async () => {
    bench.resource(1);
    await start();
    const guest = await bench.opened(true, bench.path("p"));
    guest.configure(1);
    guest.attach(0, 1);
    for (let frame = 1; frame <= 3; frame++) {
      guest.frame(frame, 0);
      await guest.next("packet", frame);
    }
    guest.frame(4, 9);
    await guest.next("error");
    const { status, text } = await ask(port, "/metrics");
    expect(status).toBe(200);
    for (const line of [
      'vsockenc_sessions{vm="a"} 1',
      'vsockenc_streams{vm="a",encoder="null",hardware="false"} 1',
      'vsockenc_buffers{vm="a",tier="resource"} 1',
      'vsockenc_frames_received_total{vm="a"} 4',
      'vsockenc_frames_encoded_total{vm="a",key="true"} 1',
      'vsockenc_frames_encoded_total{vm="a",key="false"} 2',
      'vsockenc_frames_failed_total{vm="a",code="UNKNOWN_BUFFER"} 1',
      'vsockenc_frame_stage_seconds_count{vm="a",stage="encode"} 3',
      'vsockenc_exporter_up{vm="a"} 1',
      `vsockenc_link_connections{vm="a",link="unix:${bench.folder}/p"} 1`,
    ]) {
      expect(text).toContain(line);
    }
    expect(text).toMatch(/vsockenc_link_bytes_total\{vm="a",direction="in"\} \d{3}/);
    expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
    expect((await ask(port, "/health")).status).toBe(200);
    guest.socket.destroy();
    await until(
      async () => (await ask(port, "/metrics")).text.includes('vsockenc_sessions{vm="a"} 0'),
      "its end",
    );
    const ended = (await ask(port, "/metrics")).text;
    expect(ended).toContain('vsockenc_buffers{vm="a",tier="resource"} 0');
    expect(ended).toContain('vsockenc_streams{vm="a",encoder="null",hardware="false"} 0');
  });

  it("is unhealthy, with the reason, when a VM runs whose pictures cannot be reached", async () => {
    await start();
    await until(async () => (await ask(port, "/health")).status === 200, "health without the VM");
    await bench.opened(false, bench.path("p"));
    await until(async () => (await ask(port, "/health")).status === 503, "the fault");
    const { text } = await ask(port, "/health");
    expect(JSON.parse(text)).toMatchObject({
      ok: false,
      reasons: [expect.stringContaining("restart the VM")],
    });
    expect((await ask(port, "/metrics")).text).toContain('vsockenc_vm_state{vm="a",state="without-gpu"} 1');
  });

  it("rejects other host names, and has no other page", async () => {
    await start();
    await until(async () => (await ask(port, "/nothing")).status === 404, "the server");
    for (const host of ["evil.example", "evil.example:80", "127.0.0.1.evil.example"]) {
      expect((await ask(port, "/metrics", host)).status).not.toBe(200);
      // A path that could be read as a host of its own.
      expect((await ask(port, "//127.0.0.1/metrics", host)).status).toBe(403);
    }
    expect((await ask(port, "/metrics", `localhost:${port}`)).status).toBe(200);
  });

  it("only warns when its port is taken", async () => {
    const other = createServer().listen(port, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const lines: string[] = [];
    await start(pino({ level: "warn" }, { write: (line) => lines.push(line) }));
    await until(() => lines.some((line) => line.includes("status.port")), "the warning");
    other.close();
  });
});
