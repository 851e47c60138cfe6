/** Recordings of real guests, played again; and the recorder's output. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { formatBytes, parseBytes, parseSession } from "../../../host/gpu/session-recording.ts";
import { create, FrontEnd, gpuCommand, INDIRECT, started } from "./front-end.ts";
import { SessionPlayer } from "./session-player.ts";
import { until } from "./vhost-socket.ts";

const FOLDER = join(packageRoot, "test", "vectors", "vhost");
const SESSIONS = readdirSync(FOLDER).filter((name) => name.endsWith(".jsonl"));

it.each(SESSIONS)("answers as it did in %s", async (name) => {
  const { recorded, played } = await SessionPlayer.play(readFileSync(join(FOLDER, name), "utf8"));
  expect(recorded.length).toBeGreaterThan(15);
  expect(played).toEqual(recorded);
});

it("writes bytes as text and parses them back", () => {
  for (const text of ["", "00", "[2]", "01[7]", "0a00ff[1000]01"])
    expect(formatBytes(parseBytes(text))).toBe(text);
  expect(() => parseBytes("0x1")).toThrow(SyntaxError);
  expect(() => parseSession('{"reply":""}')).toThrow(SyntaxError);
});

it("records commands and answers, and plays them again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-record-"));
  const recordPath = join(folder, "session");
  const front = FrontEnd.start({ recordPath });
  await started(front);
  await front.answer(create(1));
  await front.answer(create(1));
  await front.offer(0, [{ address: 2 ** 40, length: 32, flags: INDIRECT, next: 0 }]);
  await front.answer(gpuCommand(0x300, [0, 0, 0, 0, 0, 0, 0, 0]), 1);
  await front.close();
  const text = await until("the recording", () => {
    const written = existsSync(recordPath) ? readFileSync(recordPath, "utf8") : "";
    return written.includes('"ring":1') ? written : undefined;
  });
  rmSync(folder, { recursive: true });
  const entries = parseSession(text);
  expect(entries[0]).toEqual({ session: 1, heads: 2, mode: [1280, 800] });
  const answers = entries.flatMap((entry) => ("answer" in entry ? [entry.answer.readUInt32LE(0)] : []));
  expect(answers).toEqual([0x1100, 0x1203, 0x1100]);
  expect(entries).toContainEqual({ ring: 0, fault: "an indirect table lies outside memory" });
  const { recorded, played } = await SessionPlayer.play(text);
  expect(played).toEqual(recorded);
});

it("keeps the device running when the recording cannot be written", async () => {
  const front = FrontEnd.start({ recordPath: "/dev/full" });
  await started(front);
  for (let id = 1; id <= 20; id++) expect(await front.answer(create(id))).toBe(0x1100);
  await front.close();
});
