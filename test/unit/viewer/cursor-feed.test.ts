import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import type { OutgoingServerMessage } from "../../../proto/viewer-messages.ts";
import { CursorFeed } from "../../../viewer/server/cursor-feed.ts";

const IMAGE = { width: 1, height: 1, pixels: Buffer.from([1, 2, 3, 4]) };
const OTHER = { ...IMAGE, pixels: Buffer.from([5, 6, 7, 8]) };

const outlet = {
  congested: false,
  sent: [] as unknown[],
  send({ body }: OutgoingServerMessage) {
    outlet.sent.push(body);
  },
};
let feed: CursorFeed;

beforeEach(() => {
  vi.useFakeTimers();
  outlet.congested = false;
  outlet.sent = [];
  feed = new CursorFeed(outlet);
});

afterEach(() => {
  feed.close();
  vi.useRealTimers();
});

describe("the pointer of one viewer", () => {
  it("is the newest position, however often it moves, and the image once", () => {
    for (let x = 0; x < 1000; x += 1) feed.show({ x, y: 0, image: IMAGE });
    expect(outlet.sent).toEqual([{ visible: true, x: 0, y: 0, image: IMAGE }]);
    vi.advanceTimersByTime(VIEWER_LIMITS.CURSOR_MS);
    expect(outlet.sent.slice(1)).toEqual([{ visible: true, x: 999, y: 0 }]);
    vi.advanceTimersByTime(10 * VIEWER_LIMITS.CURSOR_MS);
    expect(outlet.sent).toHaveLength(2);
  });

  it("is sent at once after a pause, also with another image", () => {
    feed.show({ x: 1, y: 2, image: IMAGE });
    vi.advanceTimersByTime(VIEWER_LIMITS.CURSOR_MS);
    feed.show({ x: 3, y: -4, image: OTHER });
    expect(outlet.sent.slice(1)).toEqual([{ visible: true, x: 3, y: -4, image: OTHER }]);
  });

  it("can be hidden, and shown again without another image", () => {
    feed.show(undefined);
    expect(outlet.sent).toEqual([]);
    feed.show({ x: 1, y: 2, image: IMAGE });
    vi.advanceTimersByTime(VIEWER_LIMITS.CURSOR_MS);
    feed.show({ x: 1, y: 2, image: undefined });
    vi.advanceTimersByTime(VIEWER_LIMITS.CURSOR_MS);
    feed.show({ x: 5, y: 6, image: IMAGE });
    expect(outlet.sent.slice(1)).toEqual([{ visible: false }, { visible: true, x: 5, y: 6 }]);
  });

  it("waits while the socket is full of pictures", () => {
    outlet.congested = true;
    feed.show({ x: 1, y: 2, image: IMAGE });
    vi.advanceTimersByTime(10 * VIEWER_LIMITS.CURSOR_MS);
    expect(outlet.sent).toEqual([]);
    outlet.congested = false;
    vi.advanceTimersByTime(VIEWER_LIMITS.CURSOR_MS);
    expect(outlet.sent).toEqual([{ visible: true, x: 1, y: 2, image: IMAGE }]);
  });
});
