/** Pictures for encoders: scrolling pages of text. */
import { randomNumbers } from "../../support/random-numbers.ts";

const CELL = { width: 8, height: 16 };
/** Pixels that the text moves from picture to picture. */
const SCROLL = 8;

/** A page of made-up glyphs, one byte a pixel, `height` rows and as many as the scrolling needs. */
function textPage(width: number, height: number): Uint8Array {
  const random = randomNumbers(1);
  const glyphs = Array.from({ length: 64 }, (_, glyph) =>
    Array.from({ length: CELL.width * CELL.height }, () => glyph > 16 && random() < 0.3),
  );
  const page = new Uint8Array(width * height).fill(0xf0);
  for (let top = 0; top + CELL.height <= height; top += CELL.height) {
    for (let left = 0; left + CELL.width <= width; left += CELL.width) {
      const glyph = glyphs[Math.floor(random() * glyphs.length)] ?? [];
      glyph.forEach((ink, at) => {
        if (ink) page[(top + Math.floor(at / CELL.width)) * width + left + (at % CELL.width)] = 0x20;
      });
    }
  }
  return page;
}

/** `count` BGRx pictures, each scrolled on from the one before. */
export function* scrollingText(width: number, height: number, count: number): Generator<Buffer, void, void> {
  const page = textPage(width, height + count * SCROLL);
  for (let picture = 0; picture < count; picture += 1) {
    const grey = page.subarray(picture * SCROLL * width, (picture * SCROLL + height) * width);
    const pixels = new Uint32Array(grey.length);
    for (let at = 0; at < grey.length; at += 1) pixels[at] = (grey[at] ?? 0) * 0x010101;
    yield Buffer.from(pixels.buffer);
  }
}
