/**
 * Encoders that fail, in a relay of its own process: libavcodec has an h264_nvenc that fails as a test says
 * (faulty-libavcodec).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { freePort } from "../../support/free-port.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { compile } from "../../support/native-program.ts";
import { pageText } from "../../support/page-text.ts";
import { type Program, startProgramWith } from "../../support/program.ts";
import { relayBench } from "../../support/relay-bench.ts";
import type { ConnectedGuest } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const SOURCES = join(packageRoot, "test", "unit", "encoders", "faulty-libavcodec");
const bench = relayBench();
let library: string;
let relay: Program;
let statusPort: number;
let faultFile: string;

beforeAll(() => {
  library = join(compile(SOURCES, "faulty-libavcodec"), "libfaulty-libavcodec.so");
}, BUILD_HANG_MS);

/** From now on. */
const setFault = (fault: string): void => writeFileSync(faultFile, fault);

/** Runs a command with the relay's configuration. */
function start(command: string): Program {
  const environment = { LD_PRELOAD: library, FAULTY_LIBAVCODEC: faultFile };
  return startProgramWith(environment, command, "--config", bench.path("relay.toml"));
}

async function doctor(): Promise<string> {
  const program = start("doctor");
  await program.ended;
  return program.output;
}

/** What h264_nvenc was used for, by the relay itself or by its children: probes and workers. */
function uses(by: "relay" | "child"): string[] {
  const lines = `${readFileSync(`${faultFile}.log`, "utf8")}${relay.output}`.match(/^\d+ \w.*$/gm) ?? [];
  const own = `${relay.child.pid} `;
  return lines
    .filter((line) => line.startsWith(own) === (by === "relay"))
    .map((line) => line.slice(line.indexOf(" ") + 1));
}

/** Lines of the relay's log with this message. */
function logged(message: string): Record<string, unknown>[] {
  const lines = relay.output.split("\n").filter((line) => line.startsWith("{"));
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => String(msg).includes(message));
}

/** Starts a relay that listens for guests of a VM with an exporter, and encodes itself unless `more` says otherwise. */
async function startRelay(fault: string, more = 'isolation = "none"', folder = bench.folder): Promise<void> {
  faultFile = join(folder, "fault");
  setFault(fault);
  bench.resource(1);
  statusPort = await freePort();
  writeFileSync(
    bench.path("relay.toml"),
    `encoder.order = ["h264_nvenc", "h264_vaapi", "libx264"]
    ${more}
    status.port = ${statusPort}
    vm = [{ name = "a", export = "${bench.path("e")}" }]
    listen = [{ address = "unix:${bench.path("l")}", vm = "a" }]`,
  );
  relay = start("relay");
  await until(() => logged("listening").length > 0 || relay.child.exitCode !== null, "the relay");
}

/** Opens a session with an encoder. @returns the guest and the encoder's name */
async function stream(guest = bench.guest()): Promise<{ guest: ConnectedGuest; encoder: string }> {
  await guest.open();
  const configured = guest.next("configured");
  guest.configure(1);
  guest.attach(0, 1);
  return { guest, encoder: (await configured).body.encoder };
}

/** Sends frames, each when the one before has been answered. @returns the answers: key, delta, or the error's code */
async function encode(guest: ConnectedGuest, from: number, to: number): Promise<string[]> {
  const answers: string[] = [];
  for (let frame = from; frame < to; frame++) {
    const [packets, errors] = [guest.all("packet").length, guest.all("error").length];
    guest.frame(frame, 0);
    await until(() => guest.all("packet").length + guest.all("error").length > packets + errors, "an answer");
    const error = guest.all("error")[errors]?.body.code;
    const key = guest.all("packet")[packets]?.body.key === true;
    answers.push(error === undefined ? (key ? "key" : "delta") : (vsockenc.ErrorCode[error] ?? ""));
  }
  return answers;
}

const deltas = (count: number): string[] => Array(count).fill("delta");

describe("an encoder that fails in the stream", () => {
  it("at its first frame is left for the next, in the same session, and passed over by the next session", async () => {
    await startRelay("");
    setFault("frame 1");
    const { guest, encoder } = await stream();
    expect(encoder).toBe("h264_nvenc");
    const sessions = guest.all("welcome").length;
    expect(await encode(guest, 1, 9)).toEqual(["ENCODER_FAILED", "key", ...deltas(6)]);
    expect(guest.all("welcome")).toHaveLength(sessions);
    expect(guest.all("error").map(({ body }) => body.fatal)).toEqual([false]);
    expect(guest.closed).toBe(false);
    expect((await stream()).encoder).toBe("libx264");
    expect(uses("relay")).toEqual(["open any", "opened", "failed"]);
    expect(logged("passed over")).toMatchObject([
      { encoder: "h264_nvenc", reason: expect.stringContaining("external library"), pauseS: 10 },
    ]);
    const metrics = await pageText(`http://127.0.0.1:${statusPort}/metrics`);
    expect(metrics).toContain('vsockenc_streams{vm="a",encoder="h264_nvenc",hardware="true"} 0');
    expect(metrics).toContain('vsockenc_streams{vm="a",encoder="libx264",hardware="false"} 2');
  });

  it("later is opened again, and left after the third failure within a minute", async () => {
    await startRelay("");
    setFault("frame 5");
    const { guest } = await stream();
    const third = ["key", ...deltas(3), "ENCODER_FAILED"];
    expect(await encode(guest, 1, 21)).toEqual([...third, ...third, ...third, "key", ...deltas(4)]);
    expect(guest.closed).toBe(false);
    expect(uses("relay").filter((use) => use === "opened")).toHaveLength(3);
    expect(uses("relay").filter((use) => use === "failed")).toHaveLength(3);
    expect(logged("encoder replaced").map((line) => line["encoder"])).toEqual([
      "h264_nvenc",
      "h264_nvenc",
      "libx264",
    ]);
    expect(logged("passed over")).toHaveLength(1);
  });
});

describe("an encoder that hangs", () => {
  /** The log has it once, and the relay ends in order although a thread never does. */
  async function passedOverAndEnds(reason: RegExp): Promise<void> {
    expect(logged("passed over")).toMatchObject([
      { encoder: "h264_nvenc", reason: expect.stringMatching(reason), pauseS: 600 },
    ]);
    relay.child.kill("SIGTERM");
    await relay.ended;
    expect(relay.child.exitCode).toBe(0);
  }

  it("in the stream is left for the next one in the same session", async () => {
    await startRelay("");
    const { guest, encoder } = await stream();
    expect(encoder).toBe("h264_nvenc");
    expect(await encode(guest, 1, 4)).toEqual(["key", ...deltas(2)]);
    setFault("hang 4");
    // The second one waits behind the first.
    guest.frame(4, 0);
    guest.frame(5, 0);
    await until(() => guest.all("error").length === 2, "the frames' answers");
    expect(await encode(guest, 6, 9)).toEqual(["key", ...deltas(2)]);
    expect((await stream()).encoder).toBe("libx264");
    expect(uses("relay")).toEqual(["open any", "opened", "hangs"]);
    await passedOverAndEnds(/has not answered for 5 s/);
  });

  it("while it opens is left for the next one", async () => {
    await startRelay("");
    setFault("open hang");
    const { guest, encoder } = await stream();
    expect(encoder).toBe("libx264");
    expect(await encode(guest, 1, 4)).toEqual(["key", ...deltas(2)]);
    await passedOverAndEnds(/h264_nvenc: the driver has not answered/);
  });

  it("while it is closed holds the link's next stream up no longer than that", async () => {
    await startRelay("");
    const { guest } = await stream();
    expect(await encode(guest, 1, 4)).toEqual(["key", ...deltas(2)]);
    setFault("close hang");
    // Another size needs a new encoder.
    const configured = guest.next("configured");
    guest.configure(2, { width: 32 });
    expect((await configured).body.encoder).toBe("libx264");
    await passedOverAndEnds(/h264_nvenc: the driver has not answered/);
  });
});

it("a worker leaves an encoder too, and has nothing to probe", async () => {
  // A worker may read the package, and write nothing.
  const folder = mkdtempSync(join(dirname(library), "fault-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await startRelay("", "", folder);
  setFault("frame 1");
  const { guest, encoder } = await stream();
  expect(encoder).toBe("h264_nvenc");
  expect(await encode(guest, 1, 4)).toEqual(["ENCODER_FAILED", "key", "delta"]);
  expect((await stream()).encoder).toBe("libx264");
  expect(logged("worker started")).toHaveLength(1);
  expect(logged("passed over")).toHaveLength(1);
  expect(uses("relay")).toEqual([]);
  // The relay's probe, and the worker.
  expect(uses("child")).toEqual(["open any", "opened", "open any", "opened", "failed"]);
});

describe("an encoder that is probed", () => {
  it("and crashes is unavailable, by name, and the relay serves with the others", async () => {
    await startRelay("open crash");
    expect(logged("encoder unavailable")).toContainEqual(
      expect.objectContaining({
        encoder: "h264_nvenc",
        reason: "h264_nvenc crashed (SIGILL) when it was probed",
        remedy: "update its driver, or leave it out of encoder.order",
      }),
    );
    const { guest, encoder } = await stream();
    expect(encoder).toBe("libx264");
    expect(guest.all("welcome")[0]?.body.encoders.map(({ name }) => name)).toEqual(["libx264"]);
    // Together with the others; then alone, if they had no answer yet.
    expect(uses("child").length).toBeLessThanOrEqual(2);
    expect(uses("relay")).toEqual([]);
    expect(await doctor()).toContain(
      "warn  encoder h264_nvenc: h264_nvenc crashed (SIGILL) when it was probed\n      → update its driver",
    );
  });

  it("and hangs is unavailable after the bound, and its process ends", async () => {
    await startRelay("open hang");
    expect(logged("encoder unavailable")).toContainEqual(
      expect.objectContaining({
        encoder: "h264_nvenc",
        reason: "h264_nvenc did not answer within 5 s when it was probed",
      }),
    );
    expect((await stream()).encoder).toBe("libx264");
    const pids = new Set(readFileSync(`${faultFile}.log`, "utf8").match(/^\d+/gm));
    expect(pids.size).toBe(1);
    for (const pid of pids) await until(() => !isRunning(Number(pid)), "the end of the probe's process");
  });

  it("and fails at a later frame is unavailable, with its reason", async () => {
    await startRelay("frame 3");
    expect(logged("encoder unavailable")).toContainEqual(
      expect.objectContaining({ encoder: "h264_nvenc", reason: expect.stringContaining("rejects a frame") }),
    );
    expect((await stream()).encoder).toBe("libx264");
    expect(uses("relay")).toEqual([]);
  });
});

it("an encoder that is full is passed over, and used when it has room again", async () => {
  await startRelay("open full");
  const { guest, encoder } = await stream();
  expect(guest.all("welcome")[0]?.body.encoders.map(({ name }) => name)).toEqual(["h264_nvenc", "libx264"]);
  expect(encoder).toBe("libx264");
  expect(logged("encoder: h264_nvenc")).toMatchObject([
    { msg: expect.stringMatching(/out of memory \(10\).*; the next one is used/) },
  ]);
  setFault("");
  const other = bench.guest();
  await until(async () => (await stream(other)).encoder === "h264_nvenc", "h264_nvenc");
  expect(await encode(guest, 1, 4)).toEqual(["key", ...deltas(2)]);
  expect(logged("passed over")).toEqual([]);
});

it("encoders get the device of the configuration", async () => {
  await startRelay("", 'isolation = "none"\nencoder.device = { nvenc = 3, vaapi = "/dev/dri/renderD191" }');
  expect((await stream()).encoder).toBe("h264_nvenc");
  expect(uses("relay")).toEqual(["open 3", "opened"]);
  expect(logged("encoder unavailable")).toMatchObject([
    { encoder: "h264_vaapi", reason: expect.stringContaining("no VAAPI device /dev/dri/renderD191") },
  ]);
  expect(await doctor()).toContain("ok    encoder.device.nvenc: 3: h264_nvenc\n");
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
