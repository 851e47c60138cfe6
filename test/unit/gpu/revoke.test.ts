/**
 * Revoke: the guest's command that takes a resource's pages back waits until every relay has released the resource, or
 * for REVOKE_HOLD_MS. The clock of that bound stands still here, so a wait that ends has ended for another reason.
 */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ExportClient, ExportClientEvents } from "../../../host/export/client.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { attach, create, detach, exportResource, front, unref, useFrontEnd } from "./front-end.ts";
import { until } from "./vhost-socket.ts";

const OK = 0x1100;
useFrontEnd(async (starting) => {
  await starting.negotiate();
  await exportResource(starting);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
// Before the front end closes: clean-up runs in reverse order.
afterEach(() => void vi.useRealTimers());

/** A relay, and the resources that it has been asked to release. */
async function holder(
  events: Partial<ExportClientEvents> = {},
): Promise<{ client: ExportClient; asked: [resource: number, generation: number][] }> {
  const asked: [number, number][] = [];
  const onRevoke = (resource: number, generation: number) => void asked.push([resource, generation]);
  return { client: await front.client({ onRevoke, ...events }), asked };
}

const once = (asked: readonly unknown[]): Promise<true> => until("the revoke", () => asked.length > 0);

describe("revoke", () => {
  it.each([
    ["UNREF", unref(5)],
    ["DETACH_BACKING", detach(5)],
  ])("holds %s until every holder has released", async (_name, command) => {
    const [first, second] = [await holder(), await holder()];
    const { generation } = await first.client.acquire(5);
    await second.client.acquire(5);
    const submitted = front.submit(command);
    await once(first.asked);
    await once(second.asked);
    expect([first.asked, second.asked]).toEqual([[[5, generation]], [[5, generation]]]);
    first.client.release(5, generation);
    await front.roundTrip();
    expect(submitted.isDone()).toBe(false);
    second.client.release(5, generation);
    expect((await submitted.answer()).readUInt32LE(0)).toBe(OK);
  });

  it("does not wait for a resource that has been released", async () => {
    const { client } = await holder();
    const { generation } = await client.acquire(5);
    client.release(5, generation);
    await expect(client.acquire(99)).rejects.toThrow("99");
    expect(await front.answer(unref(5))).toBe(OK);
  });

  it("waits at most REVOKE_HOLD_MS, and not again for a relay that was late", async () => {
    await front.answer(create(6));
    await front.answer(attach(6, [[0, 4096]]));
    const { client, asked } = await holder();
    await client.acquire(5);
    await client.acquire(6);
    const submitted = front.submit(unref(5));
    await once(asked);
    vi.advanceTimersByTime(LIMITS.REVOKE_HOLD_MS - 1);
    await front.roundTrip();
    expect(submitted.isDone()).toBe(false);
    vi.advanceTimersByTime(1);
    expect((await submitted.answer()).readUInt32LE(0)).toBe(OK);
    expect(await front.answer(unref(6))).toBe(OK);
  });

  it("ends with the holder's connection", async () => {
    const { client } = await holder({ onRevoke: () => client.close() });
    await client.acquire(5);
    expect(await front.answer(unref(5))).toBe(OK);
  });

  it("keeps later commands, and the answers about them, in order", async () => {
    const { client, asked } = await holder();
    const { generation } = await client.acquire(5);
    const before = front.usedIndex(0);
    front.write(0x11_0000, unref(5));
    front.write(0x11_1000, create(5, 32, 32));
    front.queue(0, [{ address: 0x11_0000, length: 32, flags: 0, next: 0 }]);
    front.write(0x1000 + 16, Buffer.from([0, 0x10, 0x11, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0]));
    front.queue(0, [], 1);
    front.kick(0);
    await once(asked);
    const answer = expect(client.acquire(5)).rejects.toMatchObject({ code: "RESOURCE_WITHOUT_BACKING" });
    client.release(5, generation);
    await answer;
    expect(front.usedIndex(0)).toBe(before + 2);
  });

  it("breaks the ring when the held command's chain is made available again", async () => {
    const { client, asked } = await holder();
    await client.acquire(5);
    const submitted = front.submitSilently(unref(5));
    front.queue(0, [], 0);
    front.kick(0);
    await once(asked);
    vi.advanceTimersByTime(LIMITS.REVOKE_HOLD_MS);
    await submitted.answer();
    expect(await front.stopDevice()).toHaveLength(2);
  });

  it("ends at once when the VM stops, and the ring continues after it", async () => {
    const { client, asked } = await holder();
    await client.acquire(5);
    const submitted = front.submit(unref(5));
    await once(asked);
    const bases = await front.stopDevice();
    expect(submitted.isDone()).toBe(true);
    await front.startDevice({ bases });
    expect(await front.answer(create(5))).toBe(OK);
  });

  it("is sent on a reset, which does not wait", async () => {
    const { client, asked } = await holder();
    await client.acquire(5);
    await front.stopDevice();
    front.send(34);
    await once(asked);
    await expect(client.acquire(5)).rejects.toMatchObject({ code: "DEVICE_NOT_READY" });
  });

  it("waits for a hold that is acquired again while the old one is released", async () => {
    const { client, asked } = await holder();
    const { generation } = await client.acquire(5);
    const again = client.acquire(5);
    client.release(5, generation);
    expect((await again).generation).toBe(generation);
    const submitted = front.submit(unref(5));
    await once(asked);
    await front.roundTrip();
    expect(submitted.isDone()).toBe(false);
    client.release(5, generation);
    expect((await submitted.answer()).readUInt32LE(0)).toBe(OK);
  });
});
