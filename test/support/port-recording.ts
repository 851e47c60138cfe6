/** What a recording of the port's guest-to-host direction holds. */
import { createReadStream } from "node:fs";
import { MessageReader } from "./message-reader.ts";

/**
 * Counts Frame messages, and the bytes in Data messages: pixels.
 *
 * @param file as PortCounter records it
 */
export async function portBulk(file: string) {
  const parser = new MessageReader();
  let frames = 0;
  let dataBytes = 0;
  for await (const chunk of createReadStream(file)) {
    for (const event of parser.push(chunk as Buffer)) {
      if (event.kind !== "message") continue;
      if (event.message.type === "data") dataBytes += event.message.bytes.length;
      if (event.message.type === "frame") frames += 1;
    }
  }
  return { frames, dataBytes };
}
