import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import {
  ABS,
  BUTTONS,
  EV,
  encodeEvents,
  InputDevices,
  KEYS,
  keyEvents,
  PointerEvents,
  REL,
} from "../../../guest/bridge/input.ts";

const STILL = { x: 0, y: 0, buttons: 0, wheelX: 0, wheelY: 0 };
const REPORT = { type: EV.SYN, code: 0, value: 0 };
const [LEFT, RIGHT] = BUTTONS;

/** Events of a kind, without the position, which is in each report. */
const of = (type: number, events: ReturnType<PointerEvents["next"]>) =>
  events.filter((event) => event.type === type).map(({ code, value }) => ({ code, value }));

describe("the pointer", () => {
  it("sends its position, and ends each report", () => {
    expect(new PointerEvents().next({ ...STILL, x: 65_535, y: 7 })).toEqual([
      { type: EV.ABS, code: ABS.X, value: 65_535 },
      { type: EV.ABS, code: ABS.Y, value: 7 },
      REPORT,
    ]);
  });

  it("sends changes of buttons", () => {
    const pointer = new PointerEvents();
    expect(of(EV.KEY, pointer.next({ ...STILL, buttons: 0b01 }))).toEqual([{ code: LEFT, value: 1 }]);
    expect(of(EV.KEY, pointer.next({ ...STILL, buttons: 0b01 }))).toEqual([]);
    expect(of(EV.KEY, pointer.next({ ...STILL, buttons: 0b10 }))).toEqual([
      { code: LEFT, value: 0 },
      { code: RIGHT, value: 1 },
    ]);
  });

  it("sends fine rotation of the wheel, and whole notches when complete", () => {
    const pointer = new PointerEvents();
    const turn = (wheelY: number) => of(EV.REL, pointer.next({ ...STILL, wheelY }));
    expect(turn(80)).toEqual([{ code: REL.WHEEL_HI_RES, value: -80 }]);
    expect(turn(80)).toEqual([
      { code: REL.WHEEL_HI_RES, value: -80 },
      { code: REL.WHEEL, value: -1 },
    ]);
    expect(turn(-280)).toEqual([
      { code: REL.WHEEL_HI_RES, value: 280 },
      { code: REL.WHEEL, value: 2 },
    ]);
    expect(of(EV.REL, pointer.next({ ...STILL, wheelX: 120 }))).toEqual([
      { code: REL.HWHEEL_HI_RES, value: 120 },
      { code: REL.HWHEEL, value: 1 },
    ]);
  });
});

describe("the keyboard", () => {
  it("presses and releases", () => {
    expect(keyEvents({ code: 30, pressed: true })).toEqual([{ type: EV.KEY, code: 30, value: 1 }, REPORT]);
    expect(keyEvents({ code: 30, pressed: false })[0]).toMatchObject({ value: 0 });
  });

  it.each([0, 99, 249, LEFT ?? 0, 0x2ff, 70_000])("has no key %s", (code) => {
    expect(KEYS).not.toContain(code);
    expect(keyEvents({ code, pressed: true })).toEqual([]);
  });
});

it("writes struct input_event", () => {
  const bytes = encodeEvents([{ type: 2, code: 8, value: -1 }, REPORT]);
  expect(bytes).toHaveLength(48);
  expect(bytes.subarray(0, 24).toString("hex")).toBe(`${"00".repeat(16)}02000800ffffffff`);
});

describe("input devices", () => {
  const log = pino({ level: "silent" });

  it("name the kernel module when the device is missing", () => {
    expect(() => InputDevices.open("/dev/nosuch-uinput", log)).toThrow(/input\.enabled.*modprobe uinput/);
  });

  it("reject a file that is not the kernel's device", () => {
    const file = join(tmpdir(), `vsockenc-no-uinput-${process.pid}`);
    writeFileSync(file, "");
    expect(() => InputDevices.open(file, log)).toThrow(/cannot create an input device.*UI_SET_EVBIT/);
  });
});
