/** Resources as a reader of the export socket sees them. */
import { readSync } from "node:fs";
import type { ExportedResource } from "../../host/export/client.ts";

/** The bytes of a resource, by its extents. */
export function exportedBytes({ extents, memories }: ExportedResource): Buffer {
  return Buffer.concat(
    extents.map(({ memory, offset, length }) => {
      const bytes = Buffer.alloc(length);
      readSync(memories.get(memory)?.descriptor ?? -1, bytes, 0, length, offset);
      return bytes;
    }),
  );
}
