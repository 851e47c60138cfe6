import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

/** A temporary folder, removed after the last test of the file or describe block that calls this. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "vsockenc-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
