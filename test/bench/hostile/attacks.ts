/** Attacks on a relay by peers that share it with an honest VM. Each runs until its process ends. */
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { pino } from "pino";
import { WebSocket } from "ws";
import { ExportChannel } from "../../../host/export/channel.ts";
import { GPU_LIMITS } from "../../../host/gpu/limits.ts";
import { FdListener } from "../../../host/native/listener.ts";
import { fourcc } from "../../../proto/formats.ts";
import { encodeDataHead, MAX_DATA_BYTES } from "../../../proto/framing.ts";
import { HEADER_OFFSET, LIMITS } from "../../../proto/limits.ts";
import type { OutgoingMessage } from "../../../proto/messages.ts";
import { encodeViewerMessage } from "../../../proto/viewer-messages.ts";
import { helixFrame, helixPing } from "../../support/helix-element.ts";
import { MemfdExporter, PAGE_BYTES } from "../../support/memfd/memfd-exporter.ts";
import { until } from "../../support/until.ts";
import {
  attach as attachBacking,
  create,
  type Descriptor,
  descriptorBytes,
  detach,
  FrontEnd,
  HIGH_ADDRESS,
  NEXT,
  WRITE,
} from "../../unit/gpu/front-end.ts";
import { BenchGuest } from "../support/guest.ts";
import { scrollingText } from "../support/pixels.ts";
import { Assailant, ask, configure, listenAsQemu, pour, type Tally } from "./assailant.ts";
import { SIZE, type Target } from "./target.ts";

export interface Attack {
  readonly name: string;
  /** Completes "beside …". */
  readonly what: string;
  /** Whether the relay's log is left unread meanwhile. */
  readonly logUnread?: true;
  /** Settles when the attack is under way. */
  start(target: Target, tally: Tally): Promise<void>;
}

const XR24 = fourcc("XR24");
/** The largest picture that every limit allows. */
const LARGEST = { width: 8192, height: 4320 };
const MOST_EXTENTS = LIMITS.MAX_EXTENTS;
const MOST_ENTRIES = GPU_LIMITS.BACKING_ENTRIES;
/** In the guest's memory of front-end.ts: its first ring's descriptors, and what is behind its buffers. */
const CONTROL_DESCRIPTORS = 0x1000;
const [COMMAND_ADDRESS, UNDO_ADDRESS, ANSWER_ADDRESS] = [0x30_0000, 0x30_1000, 0x30_2000];
/** Of nr_entries in RESOURCE_ATTACH_BACKING. */
const ENTRIES_OFFSET = 28;
/** Longer than any attack. */
const WHOLE_MS = 3_600_000;
/** VIRTIO_GPU_RESP_OK_NODATA. */
const OK = 0x1100;
/** As many as the ring's 64 descriptors make. */
const PAIRS = 12;

const attach = (buffer: number, resource: number, size = SIZE, offset = 0): OutgoingMessage => ({
  type: "attach",
  body: { buffer, ...size, fourcc: XR24, planes: [{ resource, stride: size.width * 4, offset }] },
});

/** Calls `begin` for each connection of the relay to a port of the VM. Settles when there is one to each. */
async function onPorts({ ports }: Target, begin: (socket: Socket) => void): Promise<void> {
  const connected = new Set<string>();
  for (const port of ports) {
    listenAsQemu(port, (socket) => {
      connected.add(port);
      begin(socket);
    });
  }
  await until(() => connected.size === ports.length, "the relay's connections to all ports");
}

/** Floods the ports with what `pieces` makes for a connection. */
const flood =
  (pieces: (assailant: Assailant) => () => Uint8Array): Attack["start"] =>
  (target, tally) =>
    onPorts(target, (socket) => pour(socket, tally, pieces(new Assailant(socket, tally))));

/** Floods the ports with messages of one kind, as fast as they are taken. */
const messages = (next: () => OutgoingMessage): Attack["start"] =>
  flood((assailant) => () => assailant.piece(next));

/** Has the relay work at requests that take long, on all ports. */
const requests =
  (chosen: Parameters<typeof ask>[2]): Attack["start"] =>
  (target, tally) =>
    onPorts(target, (socket) => ask(socket, tally, chosen));

/** Keeps `count` clients of a socket connected, with `begin` called for each. */
function clients(where: string, count: number, begin: (socket: Socket) => void): void {
  const one = (): void => {
    const socket = connect({ path: where });
    socket.on("error", () => undefined);
    socket.on("connect", () => begin(socket));
    socket.on("close", () => setImmediate(one));
    socket.resume();
  };
  for (let n = 0; n < count; n += 1) one();
}

function exporter(target: Target, bytes: number): MemfdExporter {
  return new MemfdExporter({ path: target.export, bytes }, pino({ level: "silent" }));
}

/** Bytes that are only the beginning of a message, repeated: behind each, the next claims as many again. */
function repeated(head: Uint8Array): Buffer {
  return Buffer.concat(Array(Math.floor((32 * 1024) / head.length)).fill(head));
}

const dataHeader = (): Buffer => {
  const envelope = { epoch: 1, sequence: 1, stream: 0 };
  return encodeDataHead(1, 0, Buffer.alloc(MAX_DATA_BYTES), envelope).subarray(0, LIMITS.HEADER_BYTES);
};

/** Streams of 720p on every port, with as many frames in flight as are allowed. */
async function encode(target: Target, tally: Tally): Promise<void> {
  const bytes = SIZE.width * SIZE.height * 4;
  const memory = exporter(target, bytes);
  memory.create(1, SIZE);
  const [page] = scrollingText(SIZE.width, SIZE.height, 1);
  if (page !== undefined) memory.write(1, page);
  for (const port of target.ports) void keepBusy(new BenchGuest(port), tally);
  await until(() => tally.answers > 0, "an encoded frame");
}

/** One session after the other: this process has the lowest priority, and the relay ends those that read too slowly. */
async function keepBusy(guest: BenchGuest, tally: Tally): Promise<void> {
  const send = (): void => {
    guest.sendFrame();
    tally.bytes += LIMITS.HEADER_BYTES;
  };
  guest.onAnswered = () => {
    tally.answers += 1;
    send();
  };
  for (;;) {
    await guest.open(SIZE, [1]);
    for (let ahead = 0; ahead < LIMITS.MAX_IN_FLIGHT_FRAMES; ahead += 1) send();
    await until(() => guest.received.some(({ type }) => type === "greeting"), "the session's end", WHOLE_MS);
  }
}

/** Takes the picture budgets of the VM, and then asks for more, again and again. */
async function exhaust(target: Target, tally: Tally): Promise<void> {
  const runs = MOST_EXTENTS * PAGE_BYTES;
  const size = { width: 4096, height: runs / 4096 / 4 };
  const memory = exporter(target, 2 * runs);
  for (const id of [1, 2]) memory.create(id, { ...size, bytes: runs, placement: "scattered" });
  const inline = attach(2, 0, SIZE, LIMITS.MAX_INLINE_BYTES - SIZE.width * SIZE.height * 4);
  const opening = [configure(1), attach(0, 1, size), attach(1, 2, size), inline];
  const next = (): OutgoingMessage[] => [attach(3, 2, size), { type: "detach", body: { buffer: 3 } }];
  const chosen = { opening, resources: true, next };
  clients(target.listen, 8, (socket) => ask(socket, tally, chosen));
  await requests(chosen)(target, tally);
}

/** A resource of as many extents as there can be, attached for a picture of 16x16, again and again. */
async function describe(target: Target, tally: Tally): Promise<void> {
  const memory = exporter(target, MOST_EXTENTS * PAGE_BYTES);
  memory.create(1, { width: 4096, height: 4096, placement: "scattered" });
  const pair = [attach(0, 1, { width: 16, height: 16 }), { type: "detach", body: { buffer: 0 } } as const];
  await requests({ resources: true, next: () => pair })(target, tally);
}

async function probe(target: Target, tally: Tally): Promise<void> {
  exporter(target, LARGEST.width * LARGEST.height * 4).create(1, LARGEST);
  const next = (): OutgoingMessage[] => [{ type: "probe", body: { buffer: 0 } }];
  await requests({ opening: [attach(0, 1, LARGEST)], resources: true, next })(target, tally);
}

/** An exporter that reports changes of its heads as fast as the relay reads. */
async function report(target: Target, tally: Tally): Promise<void> {
  const rectangle = { x: 0, y: 0, width: 64, height: 64 };
  const limits = { maxMessageBytes: 512, maxDescriptors: 0, maxQueuedBytes: 1 << 24, turnBytes: 4096 };
  let connected = false;
  FdListener.listen(target.export, (fd) => {
    let open = true;
    const channel = new ExportChannel(fd, limits, {
      onMessage: () => undefined,
      onClose: () => {
        open = false;
      },
    });
    channel.send({ type: "hello", version: LIMITS.EXPORT_VERSION, software: "hostile" });
    connected = true;
    tally.answers += 1;
    const flood = (): void => {
      if (!open) return;
      for (let n = 0; n < 256; n += 1) {
        channel.send({ type: "scanout", head: n % LIMITS.MAX_HEADS, resource: 1 + (n % 2), rectangle });
        channel.send({ type: "damage", head: n % LIMITS.MAX_HEADS, rectangle });
        channel.send({ type: "revoke", resource: n, generation: n });
        tally.bytes += 60;
      }
      setTimeout(flood, 1);
    };
    flood();
  });
  // The worker connects when a guest has opened a session.
  for (const port of target.ports) {
    listenAsQemu(port, (socket) => {
      const assailant = new Assailant(socket);
      const again = setInterval(() => socket.write(assailant.piece(() => ({ type: "ping", body: {} }))), 500);
      socket.on("close", () => clearInterval(again));
    });
  }
  await until(() => connected, "the worker's connection to the exporter");
}

/** Fills the GPU's ring with commands that are as long as they can be, again and again. */
async function fillRing({ gpu }: Target, tally: Tally): Promise<void> {
  const front = FrontEnd.connect(gpu);
  await front.negotiate();
  await front.startDevice();
  await front.answer(create(1));
  const table = Buffer.alloc(MOST_ENTRIES * 16);
  // No entry continues the one before.
  for (let n = 0; n < MOST_ENTRIES; n += 1) {
    table.writeUInt32LE((n % 512) * 2 * PAGE_BYTES, n * 16);
    table.writeUInt32LE(PAGE_BYTES, n * 16 + 8);
  }
  front.write(HIGH_ADDRESS, table);
  const [command, undo] = [attachBacking(1, []), detach(1)];
  command.writeUInt32LE(MOST_ENTRIES, ENTRIES_OFFSET);
  front.write(COMMAND_ADDRESS, command);
  front.write(UNDO_ADDRESS, undo);
  const answer = { address: ANSWER_ADDRESS, length: 24, flags: WRITE, next: 0 };
  const chains: Descriptor[][] = [
    [
      { address: COMMAND_ADDRESS, length: command.length, flags: NEXT, next: 1 },
      { address: HIGH_ADDRESS, length: table.length, flags: NEXT, next: 2 },
      answer,
    ],
    [{ address: UNDO_ADDRESS, length: undo.length, flags: NEXT, next: 1 }, answer],
  ];
  const heads: number[] = [];
  let at = 0;
  for (let pair = 0; pair < PAIRS; pair += 1) {
    for (const chain of chains) {
      heads.push(at);
      chain.forEach((descriptor, index) => {
        const next = descriptor.next === 0 ? 0 : at + descriptor.next;
        front.write(CONTROL_DESCRIPTORS + (at + index) * 16, descriptorBytes({ ...descriptor, next }));
      });
      at += chain.length;
    }
  }
  const carriedOut = async (chosen: readonly number[]): Promise<void> => {
    const before = front.usedIndex(0);
    for (const head of chosen) front.queue(0, [], head);
    front.kick(0);
    await until(() => ((front.usedIndex(0) - before) & 0xffff) === chosen.length, "the end of a ring");
    tally.answers += chosen.length;
  };
  // A command that is refused would be no attack.
  await carriedOut(heads.slice(0, 1));
  const code = front.read(ANSWER_ADDRESS, 4).readUInt32LE();
  if (code !== OK) throw new Error(`the GPU answers 0x${code.toString(16)} to ATTACH_BACKING`);
  const repeat = async (): Promise<void> => {
    for (;;) {
      await carriedOut(heads);
      tally.bytes += PAIRS * table.length;
    }
  };
  void repeat();
}

/** Connections to the viewer that say nothing; those that are closed are replaced. */
async function silence({ viewer }: Target): Promise<void> {
  const port = Number(new URL(viewer).port);
  let connected = 0;
  const one = (): void => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.on("connect", () => {
      connected += 1;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => setTimeout(one, 10));
    socket.resume();
  };
  for (let n = 0; n < 120; n += 1) one();
  await until(() => connected >= 60, "connections to the viewer");
}

/** Viewers with the token that send as fast as they can, and return when they are closed. */
async function chatter({ viewer }: Target, tally: Tally): Promise<void> {
  const url = new URL("watch", viewer);
  url.search = new URL(viewer).search;
  url.protocol = "ws:";
  const hello = encodeViewerMessage({ type: "hello", body: { version: 1, codecs: [1] } });
  const ping = encodeViewerMessage({ type: "ping", body: { token: 1 } });
  const one = (): void => {
    const socket = new WebSocket(url);
    const flood = (): void => {
      if (socket.readyState !== WebSocket.OPEN) return;
      for (let n = 0; n < 100; n += 1) socket.send(ping);
      tally.bytes += 100 * ping.length;
      socket.send(ping, () => setImmediate(flood));
    };
    socket.on("open", () => {
      socket.send(hello);
      flood();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => setImmediate(one));
  };
  for (let n = 0; n < 16; n += 1) one();
  await until(() => tally.bytes > 0, "a connection to the viewer");
}

/** Requests to the status page, one after the other on each of some connections. */
async function scrape({ statusPort }: Target, tally: Tally): Promise<void> {
  const one = (): void => {
    const asked = request({ host: "127.0.0.1", port: statusPort, path: "/metrics" }, (response) => {
      response.on("data", (piece: Buffer) => {
        tally.bytes += piece.length;
      });
      response.on("close", () => {
        tally.answers += 1;
        one();
      });
    });
    asked.on("error", () => setTimeout(one, 10));
    asked.end();
  };
  for (let n = 0; n < 8; n += 1) one();
  await until(() => tally.bytes > 0, "an answer of the status page");
}

export const ATTACKS: readonly Attack[] = [
  {
    name: "nothing",
    what: "no attack, once more: how far figures of one run differ",
    start: async () => undefined,
  },
  {
    name: "own-load",
    what: "a process that works as an attacker does and sends nothing",
    start: async (_target, tally) => {
      const work = (): void => {
        const assailant = new Assailant();
        for (let n = 0; n < 1000; n += 1) tally.bytes += 0 * assailant.hello().length;
        setImmediate(work);
      };
      work();
    },
  },
  {
    name: "sessions",
    what: `Hello with a new epoch and Configure ${LARGEST.width}x${LARGEST.height}, repeated on four ports`,
    start: flood((assailant) => () => {
      const pair = (): Buffer[] => [assailant.hello(), assailant.message(configure(1, LARGEST))];
      return Buffer.concat(Array.from({ length: 64 }, pair).flat());
    }),
  },
  {
    name: "budgets",
    what: "a VM that has used up its mapped runs and its staging memory, and asks for more",
    start: exhaust,
  },
  {
    name: "false-headers",
    what: "ten bytes that claim a message of 32 KiB, repeated",
    start: (target, tally) => {
      const head = Buffer.from(dataHeader().subarray(0, 10));
      // Where the header ten bytes before has its length.
      head.writeUInt16LE(MAX_DATA_BYTES, HEADER_OFFSET.length - 10);
      const bytes = repeated(head);
      return flood(() => () => bytes)(target, tally);
    },
  },
  {
    name: "headers",
    what: "whole headers that claim a message of 32 KiB, repeated",
    start: (target, tally) => {
      const bytes = repeated(dataHeader());
      return flood(() => () => bytes)(target, tally);
    },
  },
  {
    name: "noise",
    what: "random bytes",
    start: (target, tally) => {
      const bytes = Buffer.from(Uint8Array.from({ length: 65_521 }, () => Math.random() * 256));
      return flood(() => () => bytes)(target, tally);
    },
  },
  {
    name: "connects",
    what: "clients of a listener that connect and close at once",
    start: async ({ listen }, tally) => {
      clients(listen, 32, (socket) => {
        tally.bytes += 1;
        socket.destroy();
      });
      await until(() => tally.bytes > 0, "a connection");
    },
  },
  {
    name: "control-characters",
    what: "Hello and Error with 32,000 control characters, while the log is not read",
    logUnread: true,
    start: flood((assailant) => {
      const text = "\u001b".repeat(32_000);
      return () =>
        Buffer.concat([assailant.hello(text), assailant.message({ type: "error", body: { text } })]);
    }),
  },
  {
    name: "hellos",
    what: "Hello at full speed on four ports",
    start: flood((assailant) => () => {
      return Buffer.concat(Array.from({ length: 256 }, () => assailant.hello()));
    }),
  },
  {
    name: "pings",
    what: "Ping at full speed on four ports",
    start: messages(() => ({ type: "ping", body: { token: 1 } })),
  },
  {
    name: "unread-pings",
    what: "Ping at full speed on four ports, without reading an answer",
    start: (target, tally) =>
      onPorts(target, (socket) => {
        socket.pause();
        const blind = new Assailant();
        let pieces = 0;
        pour(socket, tally, () => {
          // It cannot see the end of its session.
          if (pieces++ % 8 === 0) blind.forget();
          return blind.piece(() => ({ type: "ping", body: {} }));
        });
      }),
  },
  {
    name: "detaches",
    what: "Detach at full speed on four ports",
    start: messages(() => ({ type: "detach", body: { buffer: 1 } })),
  },
  {
    name: "unknown-frames",
    what: "Frame of an unknown buffer at full speed on four ports",
    start: messages(() => ({ type: "frame", body: { frame: 1, buffer: 9, configuration: 1, ptsNs: 1 } })),
  },
  {
    name: "extents",
    what: `Attach and Detach of a resource of ${MOST_EXTENTS.toLocaleString("en")} extents for 16x16 pixels`,
    start: describe,
  },
  {
    name: "probes",
    what: `Probe of ${LARGEST.width}x${LARGEST.height} pixels on four ports`,
    start: probe,
  },
  {
    name: "configures",
    what: "Configure of another size, again and again in one session, on four ports",
    start: (target, tally) => {
      let serial = 0;
      const next = (): OutgoingMessage[] => {
        serial += 1;
        return [configure(serial, serial % 2 === 0 ? SIZE : LARGEST)];
      };
      return requests({ resources: false, next })(target, tally);
    },
  },
  {
    name: "encodes",
    what: "four streams of 720p at full speed, eight frames in flight each",
    start: encode,
  },
  {
    name: "hxfr-pixels",
    what: "frames of 1080p with their pixels, at full speed, from eight clients of Helix's protocol",
    start: async ({ hxfr }, tally) => {
      const size = { width: 1920, height: 1080 };
      const frame = helixFrame({ ...size, pixels: Buffer.alloc(size.width * size.height * 4, 1) });
      clients(hxfr, 8, (socket) => pour(socket, tally, () => frame));
      await until(() => tally.bytes > 0, "a connection");
    },
  },
  {
    name: "hxfr-pings",
    what: "PING of Helix's protocol at full speed, from eight clients",
    start: async ({ hxfr }, tally) => {
      const pings = Buffer.concat(Array(1000).fill(helixPing()));
      clients(hxfr, 8, (socket) => pour(socket, tally, () => pings));
      await until(() => tally.bytes > 0, "a connection");
    },
  },
  {
    name: "exporter",
    what: "an exporter that reports scanouts, damage and revokes at full speed",
    start: report,
  },
  {
    name: "gpu-ring",
    what: `a virtio-gpu ring full of ATTACH_BACKING with ${MOST_ENTRIES.toLocaleString("en")} entries and DETACH`,
    start: fillRing,
  },
  {
    name: "silent-viewers",
    what: "120 silent connections to the viewer",
    start: silence,
  },
  {
    name: "viewers",
    what: "16 viewers with the token that send as fast as they can",
    start: chatter,
  },
  {
    name: "metrics",
    what: "requests for /metrics, one after the other on eight connections",
    start: scrape,
  },
];
