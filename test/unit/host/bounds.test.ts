/**
 * Walks the tables of SECURITY.md, "Bounds": each message of each protocol has a row, each of its cells names a bound, and
 * each bound is a constant of the source with that value.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ANSWER_LINES_PER_SECOND, LINES_PER_SECOND } from "../../../common/log-limit.ts";
import { packageRoot } from "../../../common/package-root.ts";
import { MAX_UNSENT_REQUEST_BYTES, RELAY_TURN_BYTES } from "../../../host/export/client.ts";
import { EXPORTER_TURN_BYTES, MAX_UNSENT_ANSWER_BYTES } from "../../../host/export/connection.ts";
import { MAX_REMEMBERED_EXTENTS } from "../../../host/export/descriptions.ts";
import { MAX_CLIENTS } from "../../../host/export/server.ts";
import { Command, MAX_COMMAND_BYTES, QUEUE_COUNT } from "../../../host/gpu/commands.ts";
import { GPU_LIMITS } from "../../../host/gpu/limits.ts";
import { MAX_SILENT_CONNECTIONS } from "../../../host/gpu/service.ts";
import { MESSAGES_PER_TURN } from "../../../host/gpu/vhost-user-backend.ts";
import { MAX_PAYLOAD_BYTES, MAX_REGIONS, Request } from "../../../host/gpu/vhost-user-protocol.ts";
import { CHANNEL_TEXT_BYTES } from "../../../host/native/channel.ts";
import { ACCEPTS_PER_SECOND } from "../../../host/native/listener.ts";
import { MAX_STAGING_BYTES } from "../../../host/native/picture.ts";
import { controlRequest, MAX_CONTROL_CLIENTS, MAX_CONTROL_REQUESTS } from "../../../host/relay/control.ts";
import { MAX_OPENING } from "../../../host/relay/encoder-gate.ts";
import { MAX_HXFR_UNSENT_BYTES, MAX_UNANSWERED } from "../../../host/relay/hxfr-session.ts";
import { MAX_WAITING_ANSWERS } from "../../../host/relay/session.ts";
import { IDLE_MS, MAX_PENDING_BYTES } from "../../../host/relay/session-peer.ts";
import { MAX_WAITING_MESSAGES, MAX_WAITING_PROBES } from "../../../host/relay/stream.ts";
import { BURST_MS } from "../../../host/relay/time-share.ts";
import { TURN_MS } from "../../../host/relay/turns.ts";
import { FLOODED_WEIGHT } from "../../../host/workers/weight.ts";
import { HXFR_HEADER_BYTES, HXFR_REQUESTS, MAX_HXFR_PIXEL_BYTES } from "../../../proto/hxfr.ts";
import { LIMITS } from "../../../proto/limits.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";

const source = (path: string): string => readFileSync(join(packageRoot, path), "utf8");

/** The most entries of a ring. */
const kMaxQueueSize = Number(/kMaxQueueSize = (\d+);/.exec(source("host/native/os/virtqueue.cc"))?.[1]);

const CONSTANTS: Readonly<Record<string, number>> = {
  ...LIMITS,
  ...VIEWER_LIMITS,
  ...GPU_LIMITS,
  ...{ CHANNEL_TEXT_BYTES, MAX_CONTROL_CLIENTS, MAX_CONTROL_REQUESTS },
  ...{ ACCEPTS_PER_SECOND, ANSWER_LINES_PER_SECOND, EXPORTER_TURN_BYTES, IDLE_MS, LINES_PER_SECOND },
  ...{
    HXFR_HEADER_BYTES,
    MAX_CLIENTS,
    MAX_COMMAND_BYTES,
    MAX_HXFR_PIXEL_BYTES,
    MAX_HXFR_UNSENT_BYTES,
    MAX_OPENING,
  },
  ...{ MAX_PAYLOAD_BYTES, MAX_PENDING_BYTES, MAX_REGIONS, MAX_REMEMBERED_EXTENTS, MAX_SILENT_CONNECTIONS },
  ...{ MAX_STAGING_BYTES, MAX_UNANSWERED, MAX_UNSENT_ANSWER_BYTES, MAX_UNSENT_REQUEST_BYTES },
  ...{ MAX_WAITING_ANSWERS, MAX_WAITING_MESSAGES, MAX_WAITING_PROBES, MESSAGES_PER_TURN, QUEUE_COUNT },
  ...{ BURST_MS, FLOODED_WEIGHT, RELAY_TURN_BYTES, TURN_MS, kMaxQueueSize },
};

/** The names of a protobuf enum or oneof. */
function names(path: string, start: string): string[] {
  const body = source(path).split(start)[1]?.split("}")[0] ?? "";
  return [...body.matchAll(/^\s+(?:[\w.]+ )?(\w+) = [1-9]\d*;/gm)].map(([, name = ""]) => name);
}

/** The messages of each protocol, by the table's heading. */
const MESSAGES: Readonly<Record<string, readonly string[]>> = {
  "Guests and clients": names("proto/wire.proto", "enum MessageType {"),
  "Clients of HXFR": Object.values(HXFR_REQUESTS).map(({ name }) => name),
  "Export socket, both directions": names("proto/export.proto", "message ExportMessage {\n  oneof message {"),
  "QEMU: vhost-user": Object.keys(Request),
  "Driver of the guest: virtio-gpu": Object.keys(Command),
  "Viewers: to the server": names("proto/viewer.proto", "message ViewerMessage {\n  oneof message {"),
  "Viewers: to the page": names("proto/viewer.proto", "message ServerMessage {\n  oneof message {"),
  "Control socket": controlRequest.options.map(({ shape }) => shape.type.value),
};

const bounds = source("SECURITY.md").split("\n## Bounds\n")[1]?.split("\n## ")[0] ?? "";
const sections = bounds.split(/^### /m).slice(1);
const titleOf = (section: string): string => section.split("\n")[0] ?? "";

/** The rows of a section's table: the cell with the messages, and those with their bounds. */
function rows(section: string): { messages: string[]; cells: string[] }[] {
  const lines = section.split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) => {
    const [first = "", ...cells] = line.slice(1, -1).split("|");
    return { messages: [...first.matchAll(/`(\w+)`/g)].map(([, name = ""]) => name), cells };
  });
}

const constants = (text: string) => [...text.matchAll(/`(\w+) = ([\d,.]+)`/g)];

describe("SECURITY.md, Bounds", () => {
  it("has a table for each protocol", () => {
    expect(sections.map(titleOf)).toEqual(Object.keys(MESSAGES));
  });

  it.each(Object.entries(MESSAGES))("%s: has each message once, with its bounds", (title, expected) => {
    expect(expected.length).toBeGreaterThan(1);
    const table = rows(sections.find((section) => titleOf(section) === title) ?? "");
    expect(table.flatMap(({ messages }) => messages).sort()).toEqual([...expected].sort());
    for (const { messages, cells } of table) {
      expect(cells, String(messages)).toHaveLength(4);
      // It may leave nothing behind, but it has bytes, and takes time.
      const mayBeNone = (column: number): boolean => column >= 2;
      const unbounded = cells.filter(
        (cell, column) => constants(cell).length === 0 && !(cell.trim() === "none" && mayBeNone(column)),
      );
      expect(unbounded, String(messages)).toEqual([]);
    }
  });

  it("names constants of the source with their values", () => {
    const named = constants(bounds);
    expect(named.length).toBeGreaterThan(100);
    const wrong = named.filter(([, name = "", value]) => CONSTANTS[name]?.toLocaleString("en-US") !== value);
    expect(wrong.map(([text, name = ""]) => `${text} is ${CONSTANTS[name]}`)).toEqual([]);
  });
});
