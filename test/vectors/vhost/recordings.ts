/** The recordings of this folder. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseSession, type SessionEntry } from "../../../host/gpu/session-recording.ts";

export function readRecording(name: string): readonly SessionEntry[] {
  return parseSession(readFileSync(join(import.meta.dirname, name), "utf8"));
}

export function readRecordings(): (readonly SessionEntry[])[] {
  return readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith(".jsonl"))
    .map(readRecording);
}
