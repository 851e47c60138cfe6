/** What a VM uses up is its own: another VM of the same process has all of its part. */
import { pino } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ExportChannel } from "../../../host/export/channel.ts";
import { FdListener } from "../../../host/native/listener.ts";
import { TimeShare } from "../../../host/relay/time-share.ts";
import type { ExportMessage } from "../../../proto/export.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { vsockenc } from "../../../proto/protobuf.ts";
import { MemfdExporter } from "../../support/memfd/memfd-exporter.ts";
import { relayBench } from "../../support/relay-bench.ts";
import { type ConnectedGuest, HEIGHT, PICTURE_BYTES, WIDTH, XR24 } from "../../support/relay-guest.ts";
import { until } from "../../support/until.ts";

const silent = pino({ level: "silent" });
const bench = relayBench();
/** Of a resource whose pages are all extents of their own. */
const MOST_BYTES = LIMITS.MAX_EXTENTS * 4096;

const ends: (() => void)[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const end of ends.splice(0)) end();
});

/** Two VMs, a and b, with an exporter and a listener each, at `ea` and `a`, `eb` and `b`. */
const TWO_VMS = (settings = ""): string =>
  `isolation = "none"\n${settings}\n${["a", "b"]
    .map(
      (name) => `[[vm]]\nname = "${name}"\nexport = "${bench.path(`e${name}`)}"
[[listen]]\naddress = "unix:${bench.path(name)}"\nvm = "${name}"\nmax_clients = 64`,
    )
    .join("\n")}`;

function memfdExporter(vm: string): MemfdExporter {
  const exporter = new MemfdExporter({ path: bench.path(`e${vm}`), bytes: 8 * PICTURE_BYTES }, silent);
  ends.push(() => exporter.close());
  for (const id of [1, 2]) exporter.create(id, { width: WIDTH, height: HEIGHT, placement: "scattered" });
  return exporter;
}

async function tiers(vm: string): Promise<unknown[]> {
  const guest = await bench.opened(true, bench.path(vm));
  for (const buffer of [0, 1]) guest.attach(buffer, buffer + 1);
  await guest.next("attached", 2);
  return guest.all("attached").map(({ body }) => body.tier);
}

/** Attaches an inline buffer of MAX_INLINE_BYTES. */
function attachInline(guest: ConnectedGuest): void {
  const stride = WIDTH * 4;
  const offset = LIMITS.MAX_INLINE_BYTES - PICTURE_BYTES;
  const body = { buffer: 0, width: WIDTH, height: HEIGHT, fourcc: XR24, planes: [{ stride, offset }] };
  guest.send({ type: "attach", body });
}

describe("a VM that has used up", () => {
  it("its time for mapping pictures waits, and another VM's are mapped", async () => {
    for (const vm of ["a", "b"]) memfdExporter(vm);
    await bench.start(TWO_VMS());
    // The first picture takes all of it.
    vi.spyOn(TimeShare.prototype, "leave").mockImplementationOnce(() => undefined);
    const guest = await bench.opened(true, bench.path("a"));
    for (const buffer of [0, 1]) guest.attach(buffer, buffer + 1);
    await guest.next("attached", 1);
    expect(await tiers("b")).toHaveLength(2);
    expect(guest.all("attached")).toHaveLength(1);
  });

  it("its mapped runs has further pictures gathered, and another VM's are mapped", async () => {
    for (const vm of ["a", "b"]) memfdExporter(vm);
    const runs = (PICTURE_BYTES / 4096) * 1.5;
    await bench.start(TWO_VMS(`pictures.max_runs = ${2 * runs}`));
    const { RESOURCE, RESOURCE_GATHER } = vsockenc.SourceTier;
    expect(await tiers("a")).toEqual([RESOURCE, RESOURCE_GATHER]);
    expect(await tiers("b")).toEqual([RESOURCE, RESOURCE_GATHER]);
  });

  it("its staging memory gets an error, and another VM's buffers are attached", async () => {
    for (const vm of ["a", "b"]) memfdExporter(vm);
    await bench.start(TWO_VMS());
    for (let used = 0; used < 2 ** 30; used += LIMITS.MAX_INLINE_BYTES) {
      const guest = await bench.opened(true, bench.path("a"));
      attachInline(guest);
      await guest.next("attached", 1);
    }
    const refused = await bench.opened(true, bench.path("a"));
    attachInline(refused);
    expect((await refused.next("error", 1)).body).toMatchObject({
      code: vsockenc.ErrorCode.LIMIT_EXCEEDED,
      text: expect.stringContaining("this VM uses 1073741824 of at most 1073741824 already"),
    });
    const other = await bench.opened(true, bench.path("b"));
    attachInline(other);
    await other.next("attached", 1);
  });
});

/** An exporter whose resources come by Read, which it answers when the test says so. */
class SlowExporter {
  readonly reads: Extract<ExportMessage, { type: "read" }>[] = [];
  #channel: ExportChannel | undefined;

  constructor(vm: string) {
    const listener = FdListener.listen(bench.path(`e${vm}`), (fd) => {
      const limits = { maxMessageBytes: 512, maxDescriptors: 0, maxQueuedBytes: 1 << 20, turnBytes: 4096 };
      this.#channel = new ExportChannel(fd, limits, {
        onMessage: (message) => this.#receive(message),
        onClose: () => undefined,
      });
      this.#channel.send({ type: "hello", version: LIMITS.EXPORT_VERSION, software: "slow" });
    });
    ends.push(() => {
      listener.close();
      this.#channel?.close();
    });
  }

  /** Refuses the newest Read. */
  answer(): void {
    const { request = 0, slot = 0 } = this.reads.at(-1) ?? {};
    const refusal = { code: "DEVICE_NOT_READY", text: "reset", waitUs: 0, copyUs: 0 } as const;
    this.#channel?.send({ type: "readDone", request, slot, ...refusal });
  }

  #receive(message: ExportMessage): void {
    if (message.type === "read") this.reads.push(message);
    if (message.type !== "acquire") return;
    const { request, resource } = message;
    const readable = { stride: WIDTH * 4, bytes: PICTURE_BYTES };
    const size = { width: WIDTH, height: HEIGHT, format: 2 };
    this.#channel?.send({
      type: "acquired",
      request,
      resource,
      generation: 1,
      ...size,
      extents: [],
      readable,
    });
  }
}

async function attached(vm: string): Promise<ConnectedGuest> {
  const guest = await bench.opened(true, bench.path(vm));
  guest.attach(0, 1);
  await guest.next("attached", 1);
  return guest;
}

/** Sends a Probe that the relay has begun to process when this settles. */
async function probe(guest: ConnectedGuest): Promise<void> {
  guest.send({ type: "probe", body: { buffer: 0 } });
  const pongs = guest.all("pong").length;
  guest.send({ type: "ping", body: { token: 1 } });
  await guest.next("pong", pongs + 1);
}

describe("a resource of many extents", () => {
  it("is described once, however often it is attached and detached", async () => {
    const exporter = new MemfdExporter({ path: bench.path("ea"), bytes: MOST_BYTES }, silent);
    ends.push(() => exporter.close());
    exporter.create(1, { width: WIDTH, height: HEIGHT, bytes: MOST_BYTES, placement: "scattered" });
    memfdExporter("b");
    await bench.start(TWO_VMS("pictures.max_runs = 0"));
    const guest = await bench.opened(true, bench.path("a"));
    const planes = [{ resource: 1, stride: WIDTH * 4, offset: MOST_BYTES - PICTURE_BYTES }];
    const [encoded, decoded] = [vi.spyOn(vsockenc.Extent, "encode"), vi.spyOn(vsockenc.Extent, "decode")];
    for (let count = 1; count <= 10; count++) {
      guest.send({ type: "attach", body: { buffer: 0, width: WIDTH, height: HEIGHT, fourcc: XR24, planes } });
      guest.send({ type: "detach", body: { buffer: 0 } });
      await guest.next("attached", count);
    }
    expect(encoded).toHaveBeenCalledTimes(LIMITS.MAX_EXTENTS);
    expect(decoded).toHaveBeenCalledTimes(LIMITS.MAX_EXTENTS);
    // Another resource of the same id has another generation.
    await exporter.free(1);
    exporter.create(1, { width: WIDTH, height: HEIGHT, bytes: MOST_BYTES, placement: "scattered" });
    guest.send({ type: "attach", body: { buffer: 0, width: WIDTH, height: HEIGHT, fourcc: XR24, planes } });
    await guest.next("attached", 11);
    expect(encoded).toHaveBeenCalledTimes(2 * LIMITS.MAX_EXTENTS);
  });
});

describe("Probes", () => {
  it("of a VM are read one at a time, and another VM's does not wait behind them", async () => {
    const slow = new SlowExporter("a");
    memfdExporter("b");
    await bench.start(TWO_VMS());
    const [first, second] = [await attached("a"), await attached("a")];
    await probe(first);
    await until(() => slow.reads.length === 1, "the first read");
    await probe(second);
    const other = await attached("b");
    await probe(other);
    await other.next("probed", 1);
    expect(slow.reads).toHaveLength(1);
    slow.answer();
    await first.next("error", 1);
    await until(() => slow.reads.length === 2, "the second read");
  });

  it("of a VM beyond a number that waits are refused, and those of ended sessions are skipped", async () => {
    const slow = new SlowExporter("a");
    memfdExporter("b");
    await bench.start(TWO_VMS());
    const guests: ConnectedGuest[] = [];
    for (let count = 0; count < 34; count++) {
      const guest = await attached("a");
      guests.push(guest);
      await probe(guest);
    }
    const last = guests.at(-1);
    expect((await last?.next("error", 1))?.body).toMatchObject({
      code: vsockenc.ErrorCode.LIMIT_EXCEEDED,
      text: "32 Probes of this VM wait already, which is the limit: probe again later",
    });
    // Another session on the link ends the one that waits.
    await Promise.all(guests.slice(1, -2).map((guest) => guest.open()));
    slow.answer();
    await until(() => slow.reads.length === 2, "the read for the one that still waits");
    slow.answer();
    await guests.at(-2)?.next("error", 1);
    expect(slow.reads).toHaveLength(2);
  });
});
