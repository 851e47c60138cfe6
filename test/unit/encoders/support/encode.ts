/** Encodes drawn pictures through the real path: memory, mapping, session. */
import type { EncoderConfiguration, EncoderSession, FrameSource } from "../../../../host/encoders/encoder.ts";
import { LibavcodecBackend, type LibavcodecOptions } from "../../../../host/encoders/libavcodec.ts";
import type { LibavcodecEncoderName } from "../../../../host/encoders/libavcodec-profiles.ts";
import { Picture } from "../../../../host/native/picture.ts";
import { ScatteredMemory } from "./memory.ts";
import { drawPattern, FORMATS, type Placement, pack, type RgbImage } from "./pattern.ts";
import { Recorder } from "./recorder.ts";

/** A plain configuration; tests change what they are about. */
export function configurationOf(changes: Partial<EncoderConfiguration> = {}): EncoderConfiguration {
  return {
    codec: "h264",
    width: 320,
    height: 240,
    framerate: { numerator: 30, denominator: 1 },
    profile: undefined,
    levels: [],
    bitrateKbps: 4000,
    rateControl: "cbr",
    keyframeInterval: 30,
    colorimetry: { primaries: 0, transfer: 0, matrix: 0, fullRange: true },
    pixelAspectRatio: { numerator: 1, denominator: 1 },
    ...changes,
  };
}

/** The image alone, rows without padding. */
export function placement(
  image: { width: number; height: number },
  changes: Partial<Placement> = {},
): Placement {
  const width = changes.width ?? image.width;
  return {
    format: "XR24",
    offset: 0,
    stride: width * 4,
    x: 0,
    y: 0,
    width,
    height: image.height,
    ...changes,
  };
}

/** A picture in scattered pages that can be drawn anew. */
export class Canvas {
  readonly picture: Picture;
  readonly #memory: ScatteredMemory;
  readonly #place: Placement;

  private constructor(picture: Picture, memory: ScatteredMemory, place: Placement) {
    this.picture = picture;
    this.#memory = memory;
    this.#place = place;
  }

  static async create(width: number, height: number, place: Placement, seed = 1): Promise<Canvas> {
    const bytes = place.offset + (place.height - 1) * place.stride + place.width * 4;
    const memory = new ScatteredMemory(bytes, seed);
    const picture = await Picture.map({
      width: place.width,
      height: place.height,
      fourcc: FORMATS[place.format].fourcc,
      planes: [{ memory: memory.resource, offset: place.offset, stride: place.stride }],
      visible: { x: place.x, y: place.y, width, height },
    });
    return new Canvas(picture, memory, place);
  }

  draw(image: RgbImage): void {
    this.#memory.write(pack(image, this.#place));
  }

  async remove(): Promise<void> {
    await this.picture.close();
    this.#memory.memory.remove();
  }
}

/** Encodes sources one after the other, the next when the last has been read. */
export async function encodeSources(
  configuration: EncoderConfiguration,
  sources: Iterable<FrameSource>,
  options: LibavcodecOptions & { readonly encoder?: LibavcodecEncoderName } = {},
): Promise<Recorder> {
  const recorder = new Recorder();
  const session = await new LibavcodecBackend(options.encoder ?? "libx264", options).open(
    configuration,
    recorder.listener,
  );
  let frame = 0;
  for (const source of sources) {
    session.encode(source, { frame, ptsNs: frame, durationNs: 0, forceKeyFrame: false });
    await session.drain();
    frame++;
  }
  await session.close();
  return recorder;
}

export interface Encoded {
  readonly recorder: Recorder;
  readonly images: readonly RgbImage[];
  readonly session: EncoderSession;
}

/** Encodes `frames` drawings, one at a time: the guest draws the next one when the last has been read. */
export async function encodePattern(
  configuration: EncoderConfiguration,
  frames: number,
  place: Partial<Placement> = {},
  options: LibavcodecOptions & {
    readonly encoder?: LibavcodecEncoderName;
    /** Frames with a forced key. */
    readonly force?: readonly number[];
    readonly before?: (frame: number, session: EncoderSession) => void;
  } = {},
): Promise<Encoded> {
  const { width, height } = configuration;
  const canvas = await Canvas.create(width, height, placement(configuration, place));
  const recorder = new Recorder();
  const session = await new LibavcodecBackend(options.encoder ?? "libx264", options).open(
    configuration,
    recorder.listener,
  );
  const images: RgbImage[] = [];
  for (let frame = 0; frame < frames; frame++) {
    const image = drawPattern(width, height, frame);
    images.push(image);
    canvas.draw(image);
    options.before?.(frame, session);
    session.encode(canvas.picture, {
      frame,
      ptsNs: (frame + 1) * 33_333_333,
      durationNs: 33_333_333,
      forceKeyFrame: options.force?.includes(frame) ?? false,
    });
    await session.drain();
  }
  await session.close();
  await canvas.remove();
  return { recorder, images, session };
}
