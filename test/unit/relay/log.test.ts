import { spawn } from "node:child_process";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ANSWER_LINES_PER_SECOND, limitLines, SUMMARY_MS } from "../../../common/log-limit.ts";
import { packageRoot } from "../../../common/package-root.ts";
import { until } from "../../support/until.ts";

describe("the log of a program", () => {
  it.each([
    ["exits", "process.exit(0)"],
    ["throws", 'throw new Error("crash")'],
  ])("does not wait for its reader, counts what it drops, and is complete when the program %s", async (_how, end) => {
    const lines = 40_000;
    const script = `
      import { createLogger } from ${JSON.stringify(join(packageRoot, "common", "log.ts"))};
      const log = createLogger("test", "info");
      for (let n = 0; n < ${lines}; n++) log.info({ n }, "x".repeat(100));
      process.stdout.write("not blocked");
      process.stdin.once("data", () => {
        log.info("last");
        ${end};
      });`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", script], {
      cwd: packageRoot,
    });
    const closed = new Promise((resolve) => child.on("close", resolve));
    await new Promise((resolve) => child.stdout.once("data", resolve));
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await until(() => text.includes("dropped lines"), "the count of dropped lines");
    child.stdin.write("end");
    await closed;
    const log = text.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : []));
    const numbers = log.flatMap(({ n }) => (n === undefined ? [] : [n]));
    const dropped = log.flatMap(({ lines }) => lines ?? []).reduce((sum, count) => sum + count, 0);
    expect(numbers).toEqual(numbers.map((_, index) => index));
    expect(dropped).toBeGreaterThan(0);
    expect(numbers.length + dropped).toBe(lines);
    expect(log.at(-1)).toMatchObject({ msg: "last" });
  });
});

describe("the log of a link", () => {
  let lines: Record<string, unknown>[];
  let log: pino.Logger;
  beforeEach(() => {
    vi.useFakeTimers();
    lines = [];
    log = pino({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line)) });
  });
  afterEach(() => vi.useRealTimers());

  it("has a bounded number of lines, those of its children included, and one for the rest", () => {
    const link = limitLines(log.child({ vm: "a" }));
    const peers = [link.child({ peer: 1 }), link.child({ peer: 2 }), link];
    for (let n = 0; n < 1000; n++) peers[n % 3]?.warn({ n }, "again");
    const written = lines.length;
    expect(written).toBeLessThan(100);
    expect(lines[1]).toMatchObject({ vm: "a", peer: 2, n: 1, msg: "again" });
    vi.advanceTimersByTime(SUMMARY_MS);
    expect(lines).toHaveLength(written + 1);
    expect(lines.at(-1)).toMatchObject({ vm: "a", suppressed: 1000 - written });
    vi.advanceTimersByTime(10 * SUMMARY_MS);
    expect(lines).toHaveLength(written + 1);
    link.info("later");
    expect(lines.at(-1)).toMatchObject({ msg: "later" });
    vi.advanceTimersByTime(10 * SUMMARY_MS);
    expect(lines).toHaveLength(written + 2);
  });

  it("has the line about a session, however many of its requests were answered with errors", () => {
    const link = limitLines(log);
    const answers = limitLines(link, ANSWER_LINES_PER_SECOND);
    for (let n = 0; n < 1000; n++) answers.warn("frame refused");
    link.warn("session rejected");
    expect(lines).toHaveLength(ANSWER_LINES_PER_SECOND + 1);
    expect(lines.at(-1)).toMatchObject({ msg: "session rejected" });
  });

  it("takes no lines from another link, and leaves out none for debugging", () => {
    const [link, other] = [limitLines(log), limitLines(log)];
    for (let n = 0; n < 1000; n++) link.info("again");
    lines.length = 0;
    other.info("mine");
    expect(lines).toMatchObject([{ msg: "mine" }]);
    for (let n = 0; n < 1000; n++) other.debug("detail");
    expect(lines).toHaveLength(1001);
    log.level = "info";
    for (let n = 0; n < 1000; n++) other.debug("detail");
    other.info("not displaced");
    expect(lines).toHaveLength(1002);
  });
});
