/**
 * Kick and call descriptors that are pipes, as QEMU uses them on systems without eventfd (macOS): both sides write eight
 * bytes to ring, readers drain, and a full pipe has been rung (util/event_notifier-posix.c).
 */
import { writeSync } from "node:fs";
import { expect, it } from "vitest";
import { DoorbellListener } from "../../../host/native/doorbell.ts";
import { closeDescriptor } from "../../../host/native/os-addon.ts";
import { create, front, QEMU_FEATURES, RING, unref, useFrontEnd } from "./front-end.ts";
import { type Pipe, pipes, until } from "./vhost-socket.ts";

const OK = 0x1100;
/** Without it the device calls for every answer. */
const EVENT_IDX = 1n << 29n;

let kick: Pipe;
let call: Pipe;

useFrontEnd(async (starting) => {
  const [[kicked], [called]] = [starting.kicks, starting.calls];
  if (kicked === undefined || called === undefined) throw new Error("no doorbells");
  kick = kicked;
  call = called;
  await starting.negotiate();
  await starting.startDevice({ features: QEMU_FEATURES & ~EVENT_IDX });
});

/** Rings until no more goes in. */
function fill({ write }: Pipe): void {
  try {
    for (;;) writeSync(write, RING);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
  }
}

it("rings once for an answer, with eight bytes", async () => {
  expect(await front.answer(create(1))).toBe(OK);
  expect(await until("the call", () => front.drain(call) || undefined)).toBe(RING.length);
  expect(await front.answer(unref(1))).toBe(OK);
  expect(await until("the call", () => front.drain(call) || undefined)).toBe(RING.length);
});

it("handles any number of rings as one", async () => {
  const command = front.submitSilently(create(1));
  fill(kick);
  expect((await command.answer()).readUInt32LE(0)).toBe(OK);
  expect(await front.answer(unref(1))).toBe(OK);

  const [pipe] = pipes(front.folder, 1);
  if (pipe === undefined) throw new Error("no pipe");
  let heard = 0;
  fill(pipe);
  const listener = new DoorbellListener(pipe.read, () => {
    heard += 1;
  });
  await until("a ring", () => heard || undefined);
  // A ring of another doorbell, which the same thread reports after the rest of this one.
  expect(await front.answer(create(2))).toBe(OK);
  expect(heard).toBe(1);
  writeSync(pipe.write, RING);
  await until("another ring", () => heard === 2);
  listener.close();
  closeDescriptor(pipe.write);
});

it("treats a full pipe as rung", async () => {
  fill(call);
  expect(await front.answer(create(1))).toBe(OK);
  expect(await front.answer(unref(1))).toBe(OK);
  expect(front.drain(call)).toBeGreaterThan(RING.length);
  expect(await front.answer(create(1))).toBe(OK);
  expect(await until("the call", () => front.drain(call) || undefined)).toBe(RING.length);
});

it("continues when the reading end of its calls is closed", async () => {
  front.closeBell(call.read);
  expect(await front.answer(create(1))).toBe(OK);
  expect(await front.answer(unref(1))).toBe(OK);
});

it("survives that the other end of its kicks is closed, as when a VM stops", async () => {
  expect(await front.answer(create(1))).toBe(OK);
  front.closeBell(kick.write);
  const client = await front.client();
  await expect(client.acquire(1)).rejects.toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
  expect(await front.stopDevice()).toEqual([1, 0]);
});
