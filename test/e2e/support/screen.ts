/** A guest's first screen and its pointer, as its exporter shows them. */
import { readSync } from "node:fs";
import { ExportClient } from "../../../host/export/client.ts";
import type { CursorImage } from "../../../proto/export.ts";
import type { TestPicture } from "../../unit/heads/support/bench.ts";

export class Screen {
  cursor: CursorImage | undefined;
  cursorPosition: { readonly x: number; readonly y: number } | undefined;
  #shown = 0;
  #client: ExportClient | undefined;

  static async connect(exportSocket: string): Promise<Screen> {
    const screen = new Screen();
    screen.#client = await ExportClient.connect(exportSocket, {
      onScanout: (_head, resource) => {
        screen.#shown = resource;
      },
      onCursorImage: (_head, image) => {
        screen.cursor = image;
      },
      onCursorPosition: (_head, x, y) => {
        screen.cursorPosition = { x, y };
      },
      onDamage: () => undefined,
      onRevoke: (resource, generation) => screen.#client?.release(resource, generation),
      onClose: () => undefined,
    });
    return screen;
  }

  /** The pixels that are shown: 32 bits each, without padding; undefined where there are none. */
  async read(): Promise<TestPicture | undefined> {
    const client = this.#client;
    if (client === undefined || this.#shown === 0) return undefined;
    const { resource, generation, width, height, extents, memories } = await client.acquire(this.#shown);
    const runs = extents.map(({ memory, offset, length }) => {
      const bytes = Buffer.alloc(length);
      readSync(memories.get(memory)?.descriptor ?? -1, bytes, 0, length, offset);
      return bytes;
    });
    client.release(resource, generation);
    return { width, height, pixels: Buffer.concat(runs).subarray(0, width * height * 4) };
  }

  /** The ids that the guest has, among the first 200. */
  async ids(): Promise<number[]> {
    const ids = Array.from({ length: 200 }, (_, index) => index + 1);
    const answers = await Promise.allSettled(ids.map((id) => this.#client?.acquire(id)));
    for (const answer of answers) {
      if (answer.status === "fulfilled" && answer.value !== undefined)
        this.#client?.release(answer.value.resource, answer.value.generation);
    }
    return ids.filter((_, index) => answers[index]?.status === "fulfilled");
  }

  close(): void {
    this.#client?.close();
  }
}
