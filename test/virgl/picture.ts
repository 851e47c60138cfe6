/** What virgl-host's commands draw, computed once more. */

const CELL = 16;

/** Bytes of a pixel in memory: which colour each is; "x": any. By VIRGL_FORMAT_*. */
const LAYOUTS = { 1: "bgra", 2: "bgrx", 67: "rgba", 134: "rgbx", 64: "r", 65: "rg" } as const;
export type Format = keyof typeof LAYOUTS;

/** `paint SEED`: the bytes of a texture; 0 where any value is right. */
export function painted(width: number, height: number, format: Format, seed: number): Buffer {
  const layout = LAYOUTS[format];
  const bytes = Buffer.alloc(width * height * layout.length);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const colours = {
        r: Math.floor(x / CELL) * 8 + seed,
        g: Math.floor(y / CELL) * 8,
        b: seed,
        a: 255 - seed,
        x: 0,
      };
      for (const colour of layout) bytes[at++] = colours[colour as keyof typeof colours];
    }
  }
  return bytes;
}

/** The same bytes with 0 where the format leaves any value. */
export function withoutPadding(bytes: Buffer, format: Format): Buffer {
  const layout = LAYOUTS[format];
  const padding = layout.indexOf("x");
  const copy = Buffer.from(bytes);
  for (let at = padding; padding >= 0 && at < copy.length; at += layout.length) copy[at] = 0;
  return copy;
}

/** `write SEED` or `map SEED`. */
export function written(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (seed + index) % 256));
}
