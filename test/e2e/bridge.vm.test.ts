/**
 * `vsockenc bridge` in a real guest with a desktop, a port and the kernel's input devices, watched by a real browser on
 * the host through a forwarded port.
 */

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ABS, BUTTONS, EV, REL } from "../../guest/bridge/input.ts";
import { Rig, type ViewedPage } from "../browser/support/rig.ts";
import { temporaryFolder } from "../support/folder.ts";
import { freePort } from "../support/free-port.ts";
import { pageText } from "../support/page-text.ts";
import { until } from "../support/until.ts";
import { TestViewer, watchUrl } from "../unit/viewer/support/test-viewer.ts";
import { Vm } from "../vm/vm.ts";
import { EventReader, GuestBridge, inputDevices, Terminal } from "./support/guest-bridge.ts";

const SIZE = { width: 1280, height: 720 };
const TOKEN = "bridge-vm-test-token";
/** The bridge's default. */
const GUEST_PORT = 8844;
const SOURCE = "screen";
/** That a compositor draws into in turn: a picture may already be the one after the next. */
const BUFFERS = 2;

const ACCESS = `viewer = { host = "0.0.0.0", remote = true, token = "${TOKEN}" }\n`;
/** Files in the guest's /in. */
const CONFIGURATIONS: Readonly<Record<string, string>> = {
  // No periodic key frames after the first.
  "bridge.toml": `encoder = { keyframe-interval = 100000 }\n${ACCESS}`,
  "input.toml": `input.enabled = true\n${ACCESS}`,
  // Without a session manager, the test connects it with the compositor.
  "pipewire.toml": `source = 'pipewiresrc autoconnect=false client-name=bridge ! capsfilter caps="video/x-raw(memory:DMABuf),format=DMA_DRM"'\n${ACCESS}`,
  "driverless.toml": 'input = { enabled = true, device = "/run/uinput" }\n',
  "portless.toml": `encoder = { device = "/dev/virtio-ports/none" }\n${ACCESS}`,
};

const folder = temporaryFolder();
let vm: Vm;
let rig: Rig;
let address = "";
let relayStatus = "";

beforeAll(async () => {
  const [port, statusPort] = [await freePort(), await freePort()];
  address = `http://127.0.0.1:${port}/?token=${TOKEN}`;
  relayStatus = `http://127.0.0.1:${statusPort}/metrics`;
  const relayConfig = join(folder, "relay.toml");
  writeFileSync(relayConfig, `status = { port = ${statusPort} }\n`);
  for (const [name, text] of Object.entries(CONFIGURATIONS)) writeFileSync(join(folder, name), text);
  vm = await Vm.boot({
    desktop: "weston",
    mode: `${SIZE.width}x${SIZE.height}`,
    forward: [{ host: port, guest: GUEST_PORT }],
    relayConfig,
    // Configurations for the guest; typed text from it.
    inDir: folder,
    outDir: folder,
    log: console.log,
  });
  rig = await Rig.start();
});
afterEach(() => rig.clear());
afterAll(async () => {
  await rig?.stop();
  await vm?.shutdown();
});

/** The host's encoding sessions. */
async function sessions(): Promise<number> {
  const metrics = await pageText(relayStatus);
  const counts = metrics.matchAll(/^vsockenc_sessions(?:\{.*\})? (\d+)$/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

const untilSessions = (count: number) =>
  until(async () => (await sessions()) === count, `${count} sessions on the host`);

async function watch(): Promise<ViewedPage> {
  const page = await rig.open({ address, source: SOURCE });
  await page.untilPainted(1);
  return page;
}

/** Waits for more pictures than there are. */
async function untilMore(page: ViewedPage, count: number): Promise<void> {
  await page.untilPainted((await page.paints()).length + count);
}

/** Checks the source tier in the bridge's statistics. */
async function expectTier(tier: string): Promise<void> {
  const viewer = await TestViewer.connect(address);
  viewer.watch(SOURCE);
  const known = (): boolean => viewer.all("statistics").some(({ encoder }) => encoder !== "");
  await until(known, "statistics");
  expect(viewer.all("statistics").at(-1)).toMatchObject({ tier });
  viewer.socket.terminate();
}

function expectRising(values: readonly number[]): void {
  expect(values).toEqual([...new Set(values)].sort((a, b) => a - b));
}

/** Runs `action` while a counter is on the screen, which the page reads back from its pictures. */
async function withCounter(action: () => Promise<void>): Promise<void> {
  const job = vm.start(`desktop counter ${SIZE.width}x${SIZE.height}`);
  try {
    await action();
  } finally {
    job.signal("INT");
    await job.done;
  }
}

/** The answer of the forwarded port. */
async function ask(path: string, headers: Record<string, string>): Promise<{ status: number; text: string }> {
  const asking = request(new URL(path, address), { headers }).end();
  const [response] = (await once(asking, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, text: await text(response) };
}

describe("the bridge in a guest, with its own choice of pipeline", () => {
  let bridge: GuestBridge;
  beforeAll(async () => {
    bridge = await GuestBridge.start(vm, "/in/bridge.toml");
  });

  it("prints the guest's own addresses", () => {
    expect(bridge.addresses).toEqual(
      ["127.0.0.1", "10.0.2.15"].map((host) => `http://${host}:${GUEST_PORT}/?token=${TOKEN}`),
    );
  });

  it("accepts the token on any port, and rejects foreign names and origins", async () => {
    expect(await ask("/", {})).toMatchObject({ status: 200, text: expect.stringContaining("<title>") });
    const foreign = await ask("/", { host: "guest.example:80" });
    expect(foreign).toMatchObject({ status: 403, text: expect.stringContaining("viewer.names") });
    const otherOrigin = TestViewer.open(watchUrl(address), { origin: "http://other.example" });
    await expect(otherOrigin).rejects.toMatchObject({ status: 403 });
    const wrongToken = TestViewer.open(watchUrl(address.replace(TOKEN, "a-wrong-token-0123")));
    await expect(wrongToken).rejects.toMatchObject({ status: 401 });
  });

  it("cannot leave the guest's network", async () => {
    const { port } = new URL(relayStatus);
    expect((await vm.run(`timeout 60 bash -c '</dev/tcp/10.0.2.2/${port}'`)).status).not.toBe(0);
  });

  it("shows the moving desktop, encoded in place", async () => {
    const page = await watch();
    await untilMore(page, 10);
    expectRising((await page.paints()).map(({ number }) => number));
    expect(await page.notice()).toBeUndefined();
    await page.shot("bridge-guest-desktop");
    await expectTier("resource");
    expect(page.problems).toEqual([]);
  });

  it("shows pictures in order, also to a viewer that joins between key frames", async () => {
    await withCounter(async () => {
      const first = await watch();
      await first.untilCounted(6);
      const second = await watch();
      await second.untilCounted(6);
      for (const page of [first, second]) {
        expectRising((await page.paints()).map(({ number }) => number));
        const counters = (await page.counters()).filter((counter) => counter !== undefined);
        counters.forEach((counter, at) => {
          expect(counter).toBeGreaterThanOrEqual(Math.max(...counters.slice(0, at + 1)) - BUFFERS);
        });
      }
      expect(await sessions()).toBe(1);
    });
  });

  it("uses the host's encoder only while there are viewers", async () => {
    await untilSessions(0);
    const page = await watch();
    expect(await sessions()).toBe(1);
    await page.page.context().close();
    await untilSessions(0);
  });

  it("has no input devices, and offers none", async () => {
    const page = await watch();
    expect(await page.page.locator("#control-button").isVisible()).toBe(false);
    expect(await inputDevices(vm)).not.toContain("vsockenc");
  });

  it("is shown again by the page after it was killed and restarted", async () => {
    const page = await watch();
    expect(await bridge.end("KILL")).toBe(128 + 9);
    await page.untilNotice(/connection|server|again/i);
    const before = (await page.paints()).length;
    bridge = await GuestBridge.start(vm, "/in/bridge.toml");
    await page.untilPainted(before + 6);
    expect(await sessions()).toBe(1);
  });

  it("ends with status 0 and its session on the host with it", async () => {
    const page = await watch();
    expect(await bridge.end("TERM")).toBe(0);
    await page.untilNotice(/stopped|connection|server/i);
    await untilSessions(0);
  });
});

/** Runs a bridge that does not start. @returns its error */
async function complaint(command: string): Promise<string> {
  const { status, stderr } = await vm.run(command);
  expect(status, stderr).toBe(1);
  return stderr;
}

describe("a bridge without a prerequisite names the remedy:", () => {
  afterEach(() => GuestBridge.endAll());

  it("the addon, the rights to the screen, the kernel's module", async () => {
    const asNobody = "setpriv --reuid 65534 --regid 65534 --clear-groups env GST_REGISTRY_UPDATE=no";
    const [addon, screen, module] = await Promise.all([
      complaint("VSOCKENC_ADDONS=/nowhere vsockenc bridge"),
      complaint(`chmod 666 /dev/dri/card0; ${asNobody} vsockenc bridge`),
      // A device node without a driver.
      complaint("mknod /run/uinput c 10 250; vsockenc bridge --config /in/driverless.toml"),
    ]);
    expect(addon).toMatch(/cannot load the native addon gst\.node.*\n(.*\n)*.*npm run build:bridge/);
    expect(screen).toMatch(
      /Nothing to capture:\n- the screen, .*CAP_SYS_ADMIN.*\.\n- a compositor's stream, with pipewiresrc: .*\.\n.*--source/,
    );
    expect(module).toMatch(/input\.enabled is true, and \/run\/uinput cannot be opened.*modprobe uinput/);
  });

  it("the port", async () => {
    const bridge = await GuestBridge.start(vm, "/in/portless.toml");
    const page = await rig.open({ address, source: SOURCE });
    await page.untilNotice(/Cannot reach the host.*vsockenc qemu-args/);
    expect(await bridge.end("TERM")).toBe(0);
  });
});

/** Every one of these pressed and released. */
const strokes = (...codes: number[]): [number, number][] =>
  codes.flatMap((code) => [1, 0].map((value): [number, number] => [code, value]));

describe("pointer and keyboard", () => {
  afterEach(() => GuestBridge.endAll());

  it("reach the guest's kernel and its programs as sent", async () => {
    expect(await vm.run("modprobe uinput")).toMatchObject({ status: 0 });
    const bridge = await GuestBridge.start(vm, "/in/input.toml");
    const terminal = new Terminal(vm, folder);
    const pointer = await EventReader.open(vm, "vsockenc pointer");
    const keyboard = await EventReader.open(vm, "vsockenc keyboard");
    const viewer = await watch();
    const { mouse, keyboard: keys } = viewer.page;
    await viewer.page.locator("#control-button").click();
    const box = await viewer.page.locator("[data-controlled]").boundingBox();
    if (box === null) throw new Error("the picture is not visible");

    const place = [box.x + box.width / 4, box.y + (box.height * 3) / 4] as const;
    const tries = await terminal.wake(async () => {
      await mouse.click(...place);
      await keys.press("Enter");
    });
    const [left = 0, right = 0] = BUTTONS;
    const clicks = strokes(...Array<number>(tries).fill(left));
    expect(await pointer.changes(EV.KEY, clicks.length)).toEqual(clicks);
    const at = (axis: number): number =>
      (pointer.events(EV.ABS).findLast(({ code }) => code === axis)?.value ?? 0) / 65_535;
    expect(at(ABS.X)).toBeCloseTo(1 / 4, 2);
    expect(at(ABS.Y)).toBeCloseTo(3 / 4, 2);

    await keys.type("hello\n");
    // KEY_H and so on; Enter is 28.
    const typed = strokes(...Array<number>(tries).fill(28), 35, 18, 38, 38, 24, 28);
    expect(await keyboard.changes(EV.KEY, typed.length)).toEqual(typed);
    await until(() => terminal.line === "hello\n", "the line");

    // A notch down, up, and to the right.
    await mouse.wheel(0, 100);
    await mouse.wheel(0, -100);
    await mouse.wheel(100, 0);
    expect((await pointer.changes(EV.REL, 6)).flat()).toEqual([
      ...[REL.WHEEL_HI_RES, -120, REL.WHEEL, -1],
      ...[REL.WHEEL_HI_RES, 120, REL.WHEEL, 1],
      ...[REL.HWHEEL_HI_RES, 120, REL.HWHEEL, 1],
    ]);
    await mouse.click(...place, { button: "right" });
    expect(await pointer.changes(EV.KEY, clicks.length + 2)).toEqual([...clicks, ...strokes(right)]);
    // With the terminal's menu and the typed line.
    await untilMore(viewer, 5);
    await viewer.shot("bridge-guest-input");

    // A key that is held when its viewer disconnects is released.
    await keys.down("b");
    await keyboard.changes(EV.KEY, typed.length + 1);
    await viewer.page.context().close();
    expect(await keyboard.changes(EV.KEY, typed.length + 2)).toEqual([...typed, ...strokes(48)]);

    await Promise.all([pointer.end("TERM"), keyboard.end("TERM")]);
    expect(await bridge.end("TERM")).toBe(0);
    expect(await inputDevices(vm)).not.toContain("vsockenc");
    await terminal.end();
  });
});

describe("a compositor's stream", () => {
  it("is shown by the bridge, encoded in place", async () => {
    await vm.run("pkill -x weston; while pgrep -x weston; do sleep 0.2; done");
    expect(await vm.run("desktop pipewire")).toMatchObject({ status: 0 });
    const bridge = await GuestBridge.start(vm, "/in/pipewire.toml");
    const linked = vm.run("desktop link bridge");
    const page = await watch();
    expect(await linked).toMatchObject({ status: 0 });
    await untilMore(page, 3);
    await expectTier("resource");
    await page.shot("bridge-guest-pipewire");
    expect(await bridge.end("TERM")).toBe(0);
  });
});
