import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pacer } from "../../../host/heads/pacer.ts";
import { until } from "../../support/until.ts";

describe("pictures of what changes", () => {
  let made: (() => void)[];
  let pacer: Pacer;

  beforeEach(() => {
    made = [];
    pacer = new Pacer(1000, () => new Promise((resolve) => void made.push(resolve)));
  });
  afterEach(() => pacer.stop());

  /** Settles when `count` have been begun, the last of which is not ready. */
  const begun = (count: number) => until(() => made.length >= count, `picture ${count}`);

  it("are made one at a time, and one more for all that changes meanwhile", async () => {
    pacer.changed();
    for (let change = 0; change < 5; change += 1) pacer.changed();
    expect(made).toHaveLength(1);
    made[0]?.();
    await begun(2);
    made[1]?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(made).toHaveLength(2);
    pacer.changed();
    await begun(3);
  });

  it("are made again without a change when it is asked for", async () => {
    pacer.retryAfter(1);
    expect(made).toHaveLength(0);
    await begun(1);
  });

  it("are not made any more after the end", async () => {
    pacer.changed();
    pacer.changed();
    pacer.stop();
    made[0]?.();
    pacer.changed();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(made).toHaveLength(1);
  });
});
