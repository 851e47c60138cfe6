/** When a stream leaves an encoder, and which one a new stream tries first, by a clock that the tests set. */
import { beforeEach, describe, expect, it } from "vitest";
import {
  EncoderFailedError,
  EncoderFullError,
  EncoderHungError,
  type EncoderSession,
  EncoderUnavailableError,
  type FrameSource,
} from "../../../host/encoders/encoder.ts";
import { PreferredBackend } from "../../../host/encoders/index.ts";
import { configurationOf, requestOf } from "./support/encode.ts";
import { Recorder } from "./support/recorder.ts";
import { ScriptedBackend } from "./support/scripted.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;

let now: number;
let passedOver: string[];
beforeEach(() => {
  now = 1e6;
  passedOver = [];
});

const source = { closed: false } as FrameSource;

function setUp() {
  const [card, software] = [new ScriptedBackend("card"), new ScriptedBackend("software")];
  const backend = new PreferredBackend([card, software], {
    now: () => now,
    onPassedOver: (encoder, reason, pauseMs) =>
      passedOver.push(`${encoder}: ${reason}, ${pauseMs / SECOND} s`),
  });
  const recorder = new Recorder();
  const open = () => backend.open(configurationOf(), recorder.listener);
  /** The encoder of a new stream, which is closed again. */
  const first = async (): Promise<string> => {
    const session = await open();
    await session.close();
    return session.description.encoder;
  };
  return { card, software, recorder, open, first };
}

/** Lets a session change its encoder. */
const settled = (session: EncoderSession): Promise<void> => session.drain();

async function encodeAll(session: EncoderSession, from: number, to: number): Promise<void> {
  for (let frame = from; frame < to; frame++) session.encode(source, requestOf(frame));
  await session.drain();
}

/** Has a new stream leave the card at its first frame. */
async function disappoint({ card, open }: ReturnType<typeof setUp>): Promise<void> {
  const session = await open();
  expect(session.description.encoder).toBe("card");
  card.last.fail();
  await settled(session);
  expect(session.description.encoder).toBe("software");
  await session.close();
}

describe("an encoder that a stream has left", () => {
  it("is asked again after ten seconds, then twenty, and so on up to ten minutes", async () => {
    const scene = setUp();
    const pauses = [10, 20, 40, 80, 160, 320, 600, 600];
    for (const pause of pauses) {
      await disappoint(scene);
      now += pause * SECOND - 1;
      expect(await scene.first()).toBe("software");
      now += 1;
    }
    expect(passedOver).toEqual(pauses.map((pause) => `card: no luck, ${pause} s`));
    expect(await scene.first()).toBe("card");
  });

  it("starts over after ten good minutes", async () => {
    const scene = setUp();
    await disappoint(scene);
    now += 10 * SECOND;
    await disappoint(scene);
    now += 20 * SECOND + 10 * MINUTE;
    await disappoint(scene);
    expect(passedOver.at(-1)).toBe("card: no luck, 10 s");
  });

  it("is reported once, whatever number of streams leave it", async () => {
    const scene = setUp();
    const sessions = [await scene.open(), await scene.open(), await scene.open()];
    for (const session of scene.card.sessions.slice()) session.fail();
    await Promise.all(sessions.map(settled));
    expect(sessions.map(({ description }) => description.encoder)).toEqual(Array(3).fill("software"));
    expect(passedOver).toHaveLength(1);
  });

  it("is tried last during its pause, where the others cannot", async () => {
    const scene = setUp();
    await disappoint(scene);
    scene.software.error = new EncoderUnavailableError("it makes h265, not h264");
    expect(await scene.first()).toBe("card");
  });

  it("is not opened again by the same stream", async () => {
    const scene = setUp();
    const session = await scene.open();
    scene.card.last.fail();
    await settled(session);
    now += MINUTE;
    scene.software.last.fail("no luck either");
    await settled(session);
    expect(scene.recorder.errors).toEqual([{ frame: undefined, message: "no luck either" }]);
    expect(() => session.encode(source, requestOf(9))).toThrow(EncoderFailedError);
    expect(scene.card.sessions).toHaveLength(1);
  });
});

describe("an encoder that has worked for a stream", () => {
  /** Has the card fail after three access units, so many times. */
  async function fail(
    scene: ReturnType<typeof setUp>,
    session: EncoderSession,
    times: number,
    everyMs: number,
  ) {
    for (let count = 0; count < times; count++) {
      const frame = scene.recorder.answered;
      await encodeAll(session, frame, frame + 3);
      now += everyMs;
      scene.card.last.fail();
      await settled(session);
    }
  }

  it("is opened again, and left at the third failure within a minute", async () => {
    const scene = setUp();
    const session = await scene.open();
    await fail(scene, session, 2, 29 * SECOND);
    expect(session.description.encoder).toBe("card");
    expect(passedOver).toEqual([]);
    await fail(scene, session, 1, 29 * SECOND);
    expect(session.description.encoder).toBe("software");
    expect(scene.card.sessions).toHaveLength(3);
    expect(passedOver).toHaveLength(1);
  });

  it("is kept if it fails less often", async () => {
    const scene = setUp();
    const session = await scene.open();
    await fail(scene, session, 10, 30 * SECOND);
    expect(session.description.encoder).toBe("card");
    expect(passedOver).toEqual([]);
  });

  it("is left if it then fails at its first frames", async () => {
    const scene = setUp();
    const session = await scene.open();
    await fail(scene, session, 1, SECOND);
    await encodeAll(session, 3, 5);
    scene.card.last.fail();
    await settled(session);
    expect(session.description.encoder).toBe("software");
  });

  it("is followed by the next where it does not open again", async () => {
    const scene = setUp();
    const session = await scene.open();
    await encodeAll(session, 0, 3);
    scene.card.error = new EncoderFailedError("the card has gone");
    scene.card.last.fail();
    await settled(session);
    expect(session.description.encoder).toBe("software");
    expect(scene.recorder.notes).toEqual(["card: the card has gone; the next one is used"]);
  });
});

describe("an encoder whose driver hangs", () => {
  /** How it hangs, and the stream's encoder afterwards. */
  const HANGS: [string, (scene: ReturnType<typeof setUp>) => Promise<string>][] = [
    [
      "at a frame",
      async ({ card, open }) => {
        const session = await open();
        await encodeAll(session, 0, 5);
        card.last.hang();
        await settled(session);
        const { encoder } = session.description;
        await session.close();
        return encoder;
      },
    ],
    [
      "while it opens",
      async ({ card, first }) => {
        card.error = new EncoderHungError("no answer");
        const encoder = await first();
        card.error = undefined;
        return encoder;
      },
    ],
    [
      "while it is closed",
      async ({ card, open }) => {
        const session = await open();
        card.last.closingError = new EncoderHungError("no answer");
        await session.close();
        return "software";
      },
    ],
  ];

  it.each(HANGS)("%s is passed over for ten minutes at once", async (_, hang) => {
    const scene = setUp();
    expect(await hang(scene)).toBe("software");
    expect(passedOver).toEqual(["card: no answer, 600 s"]);
    now += 10 * MINUTE - 1;
    expect(await scene.first()).toBe("software");
    now += 1;
    expect(await scene.first()).toBe("card");
  });

  it("is passed over for longer than one that fails", async () => {
    const scene = setUp();
    const streams = [await scene.open(), await scene.open()];
    const [fails, hangs] = scene.card.sessions;
    fails?.fail();
    hangs?.hang();
    await Promise.all(streams.map(settled));
    expect(passedOver).toEqual(["card: no luck, 10 s", "card: no answer, 600 s"]);
  });
});

describe("an encoder that does not open", () => {
  it("for lack of room is asked again after a second, without a report", async () => {
    const { card, first, recorder } = setUp();
    card.error = new EncoderFullError("out of memory (10)");
    expect(await first()).toBe("software");
    expect(recorder.notes).toEqual(["card: out of memory (10); the next one is used"]);
    card.error = undefined;
    now += SECOND - 1;
    expect(await first()).toBe("software");
    now += 1;
    expect(await first()).toBe("card");
    expect(passedOver).toEqual([]);
  });

  it("for another reason, which may be the stream's own, is asked by the next stream", async () => {
    const { card, first } = setUp();
    card.error = new EncoderFailedError("too large");
    expect(await first()).toBe("software");
    card.error = undefined;
    expect(await first()).toBe("card");
  });
});

describe("a session that changes its encoder", () => {
  /** Opens a session whose card fails, and whose next encoder opens when `proceed` is called. */
  async function failing() {
    const scene = setUp();
    const session = await scene.open();
    let proceed: () => void = () => undefined;
    scene.software.gate = new Promise((resolve) => {
      proceed = resolve;
    });
    // An old session could still answer, and hold what the new one needs.
    scene.software.onOpen = () => expect(scene.card.last.closed).toBe(true);
    for (const frame of [0, 1, 2]) session.encode(source, requestOf(frame));
    scene.card.last.fail();
    session.encode(source, requestOf(3));
    return { ...scene, session, proceed };
  }

  it("loses the frames of the old one, and holds new ones for the next", async () => {
    const { session, recorder, software, proceed } = await failing();
    expect(session.reconfigure(configurationOf())).toBe(false);
    proceed();
    await session.drain();
    expect(recorder.errors.map(({ frame }) => frame)).toEqual([0]);
    expect(recorder.dropped).toEqual([1, 2].map((frame) => ({ frame, reason: "encoder" })));
    expect(recorder.packets.map(({ frame }) => frame)).toEqual([3]);
    expect(software.sessions).toHaveLength(1);
    expect(session.reconfigure(configurationOf())).toBe(true);
    expect(recorder.broken).toEqual([]);
  });

  it("drops a frame whose picture is closed before that", async () => {
    const { session, recorder, proceed } = await failing();
    session.encode({ closed: true } as FrameSource, requestOf(4));
    proceed();
    await session.drain();
    expect(recorder.packets.map(({ frame }) => frame)).toEqual([3]);
    expect(recorder.dropped.at(-1)).toEqual({ frame: 4, reason: "encoder" });
  });

  it("may be flushed", async () => {
    const { session, recorder, proceed } = await failing();
    const flushed = session.flush();
    proceed();
    await flushed;
    expect(recorder.dropped.at(-1)).toEqual({ frame: 3, reason: "flushed" });
  });

  it("may be closed: every frame is answered, and the new encoder is closed too", async () => {
    const { session, recorder, software, proceed } = await failing();
    const closed = session.close();
    proceed();
    await closed;
    expect(recorder.answered).toBe(4);
    expect(recorder.errors.map(({ frame }) => frame)).toEqual([0]);
    expect(software.sessions.every((each) => each.closed)).toBe(true);
    expect(() => session.encode(source, requestOf(5))).toThrow("the session is closed");
  });

  it("fails where no encoder opens, and says why", async () => {
    const { session, recorder, software, proceed } = await failing();
    software.error = new EncoderFailedError("no memory");
    proceed();
    await session.drain();
    expect(recorder.answered).toBe(4);
    expect(recorder.errors.at(-1)).toEqual({
      frame: undefined,
      message: "no luck; no encoder for h264 320x240: software: no memory",
    });
  });

  it("survives a second failure before the first frame of the new one", async () => {
    const { session, recorder, software, proceed } = await failing();
    const wasOpened = software.open.bind(software);
    software.open = async (...args) => {
      const opened = await wasOpened(...args);
      software.last.fail("at once");
      return opened;
    };
    proceed();
    await session.drain();
    await session.drain();
    expect(recorder.answered).toBe(4);
    expect(recorder.errors.at(-1)).toEqual({ frame: undefined, message: "at once" });
  });
});
