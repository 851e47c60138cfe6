/**
 * The EDID block that a head answers GET_EDID with (VESA E-EDID 1.4, one block of 128 bytes, no extension).
 *
 * The preferred mode is a detailed timing with reduced blanking (VESA CVT 1.2, section 3); a few common sizes are
 * offered as well, because every size costs this device the same.
 */
import type { DisplayMode } from "./display-mode.ts";

const BLOCK_BYTES = 128;
const DESCRIPTOR_BYTES = 18;
const FIRST_DESCRIPTOR = 54;
/** Determines the physical size that the screen reports. */
const PIXELS_PER_INCH = 96;
const MM_PER_INCH = 25.4;
/** "VSE": five bits a letter, E-EDID 3.4.1. */
const MANUFACTURER = (22 << 10) | (19 << 5) | 5;

/** Further modes at 60 Hz: the aspect ratio code of E-EDID 3.9, and widths. */
const STANDARD_TIMINGS = [
  [3, 1280, 1600, 1920],
  [2, 1280],
  [0, 1440, 1680, 1920],
  [1, 1400],
] as const;

/** sRGB primaries and white point, CIE x and y. */
const CHROMATICITY = [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329];

const HORIZONTAL_BLANK = 160;
const HORIZONTAL_FRONT_PORCH = 48;
const HORIZONTAL_SYNC = 32;
const VERTICAL_FRONT_PORCH = 3;
const MIN_VERTICAL_BACK_PORCH = 6;
const MIN_VERTICAL_BLANK_US = 460;
const CLOCK_STEP_KHZ = 250;
/** A detailed timing's clock is 16 bits of 10 kHz. */
const MAX_CLOCK_KHZ = 655_350;
const REFRESH_HZ = 60;

/** CVT's code for the aspect ratio is the length of the vertical sync. */
function verticalSync({ width, height }: DisplayMode): number {
  if (width * 3 === height * 4) return 4;
  if (width * 9 === height * 16) return 5;
  if (width * 10 === height * 16) return 6;
  return 10;
}

function timingAt(mode: DisplayMode, refreshHz: number) {
  const sync = verticalSync(mode);
  const lineUs = (1e6 / refreshHz - MIN_VERTICAL_BLANK_US) / mode.height;
  const verticalBlank = Math.max(
    Math.floor(MIN_VERTICAL_BLANK_US / lineUs) + 1,
    VERTICAL_FRONT_PORCH + sync + MIN_VERTICAL_BACK_PORCH,
  );
  const pixels = (mode.width + HORIZONTAL_BLANK) * (mode.height + verticalBlank);
  const clockKhz = Math.floor((refreshHz * pixels) / 1000 / CLOCK_STEP_KHZ) * CLOCK_STEP_KHZ;
  return { clockKhz, verticalBlank, sync };
}

/** 60 Hz, or as near as the clock's field allows. */
function timing(mode: DisplayMode) {
  const wanted = timingAt(mode, REFRESH_HZ);
  if (wanted.clockKhz <= MAX_CLOCK_KHZ) return wanted;
  return timingAt(mode, Math.floor((REFRESH_HZ * MAX_CLOCK_KHZ) / wanted.clockKhz));
}

const millimetres = (pixels: number): number => Math.round((pixels * MM_PER_INCH) / PIXELS_PER_INCH);

/** E-EDID 3.10.2. */
function detailedTiming(mode: DisplayMode): Buffer {
  const { clockKhz, verticalBlank, sync } = timing(mode);
  const descriptor = Buffer.alloc(DESCRIPTOR_BYTES);
  const highNibbles = (first: number, second: number): number => ((first >> 8) << 4) | (second >> 8);
  const widthMm = millimetres(mode.width);
  const heightMm = millimetres(mode.height);
  descriptor.writeUInt16LE(clockKhz / 10, 0);
  descriptor[2] = mode.width & 0xff;
  descriptor[3] = HORIZONTAL_BLANK & 0xff;
  descriptor[4] = highNibbles(mode.width, HORIZONTAL_BLANK);
  descriptor[5] = mode.height & 0xff;
  descriptor[6] = verticalBlank & 0xff;
  descriptor[7] = highNibbles(mode.height, verticalBlank);
  descriptor[8] = HORIZONTAL_FRONT_PORCH;
  descriptor[9] = HORIZONTAL_SYNC;
  descriptor[10] = (VERTICAL_FRONT_PORCH << 4) | sync;
  descriptor[12] = widthMm & 0xff;
  descriptor[13] = heightMm & 0xff;
  descriptor[14] = highNibbles(widthMm, heightMm);
  // Digital separate sync, horizontal positive, vertical negative: CVT's sign of reduced blanking.
  descriptor[17] = 0x1a;
  return descriptor;
}

/** A descriptor with a text of up to 13 bytes; E-EDID 3.10.3. */
function textDescriptor(tag: number, text: string): Buffer {
  const descriptor = Buffer.alloc(DESCRIPTOR_BYTES, 0x20);
  descriptor.fill(0, 0, 5);
  descriptor[3] = tag;
  const end = 5 + descriptor.write(text.slice(0, 13), 5, "ascii");
  if (end < DESCRIPTOR_BYTES) descriptor[end] = 0x0a;
  return descriptor;
}

const SERIAL_TAG = 0xff;
const NAME_TAG = 0xfc;
const DUMMY_TAG = 0x10;

/** Ten bits each: the low two of all come first, then the high eight. E-EDID 3.7. */
function writeChromaticity(block: Buffer, at: number): void {
  const values = CHROMATICITY.map((value) => Math.round(value * 1024));
  values.forEach((value, i) => {
    const low = at + (i >> 2);
    block[low] = (block[low] ?? 0) | ((value & 3) << (6 - 2 * (i & 3)));
    block[at + 2 + i] = value >> 2;
  });
}

/**
 * The EDID of one head.
 *
 * @param head number of the head; becomes part of the display's name and serial number
 * @param mode the preferred mode, as display-mode.ts bounds it
 * @returns 128 bytes
 */
export function generateEdid(head: number, mode: DisplayMode): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.fill(0xff, 1, 7);
  block.writeUInt16BE(MANUFACTURER, 8);
  block.writeUInt16LE(1, 10);
  block.writeUInt32LE(head + 1, 12);
  // Year 2025, no week; EDID 1.4.
  block[17] = 2025 - 1990;
  block[18] = 1;
  block[19] = 4;
  // Digital, 8 bits a colour, interface undefined; size in cm; gamma 2.2; sRGB, preferred mode is native.
  block[20] = 0xa0;
  block[21] = Math.min(255, Math.round(millimetres(mode.width) / 10));
  block[22] = Math.min(255, Math.round(millimetres(mode.height) / 10));
  block[23] = 120;
  block[24] = 0x06;
  writeChromaticity(block, 25);
  // 640x480, 800x600 and 1024x768 at 60 Hz.
  block[35] = 0x21;
  block[36] = 0x08;
  const timings = STANDARD_TIMINGS.flatMap(([aspect, ...widths]) =>
    widths.flatMap((width) => [width / 8 - 31, aspect << 6]),
  );
  block.set(timings, 38);
  const descriptors = [
    detailedTiming(mode),
    textDescriptor(NAME_TAG, `vsockenc ${head}`),
    textDescriptor(SERIAL_TAG, `head-${head}`),
    Buffer.from([0, 0, 0, DUMMY_TAG]),
  ];
  descriptors.forEach((descriptor, i) => {
    descriptor.copy(block, FIRST_DESCRIPTOR + i * DESCRIPTOR_BYTES);
  });
  const sum = block.reduce((total, byte) => total + byte, 0);
  block[BLOCK_BYTES - 1] = (256 - (sum % 256)) % 256;
  return block;
}
