/** What the tests of the export socket begin with. */
import { attach, create, type FrontEnd, HIGH_ADDRESS } from "./front-end.ts";

/** Starts the device and gives resource 5, of 64x64 pixels, three runs of pages, the last in the high region. */
export async function exportResource(front: FrontEnd): Promise<void> {
  await front.startDevice();
  await front.answer(create(5));
  await front.answer(
    attach(5, [
      [0x20_0000, 4096],
      [0x20_1000, 4096],
      [HIGH_ADDRESS + 0x3000, 8192],
    ]),
  );
}
