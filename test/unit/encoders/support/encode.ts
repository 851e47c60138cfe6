/** Encodes drawn pictures through the real path: memory, mapping, session. */
import type {
  EncoderConfiguration,
  EncoderDescription,
  EncoderSession,
  FrameRequest,
  FrameSource,
} from "../../../../host/encoders/encoder.ts";
import {
  LibavcodecBackend,
  type LibavcodecEncoderName,
  type LibavcodecOptions,
} from "../../../../host/encoders/libavcodec.ts";
import type { Picture } from "../../../../host/native/picture.ts";
import { atEnd, mapPicture, ScatteredMemory } from "./memory.ts";
import { drawPattern, FORMATS, type Placement, pack, type RgbImage } from "./pattern.ts";
import { Recorder } from "./recorder.ts";

/** A plain configuration with a test's changes. */
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

/** A picture in scattered pages that can be drawn again. */
export class Canvas {
  readonly picture: Picture;
  readonly #memory: ScatteredMemory;
  readonly #place: Placement;

  private constructor(picture: Picture, memory: ScatteredMemory, place: Placement) {
    this.picture = picture;
    this.#memory = memory;
    this.#place = place;
  }

  /** @param place by default the image alone */
  static async create(width: number, height: number, place = placement({ width, height }), seed = 1) {
    const bytes = place.offset + (place.height - 1) * place.stride + place.width * 4;
    const memory = new ScatteredMemory(bytes, seed);
    const picture = await mapPicture({
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

export interface SessionOptions extends LibavcodecOptions {
  /** Default libx264. */
  readonly encoder?: LibavcodecEncoderName;
}

/** Opens an encoder that reports to a recorder of its own; releaseAll closes it and checks its events. */
export async function openSession(configuration: EncoderConfiguration, options: SessionOptions = {}) {
  const recorder = new Recorder();
  const backend = new LibavcodecBackend(options.encoder ?? "libx264", options);
  const session = await backend.open(configuration, recorder.listener);
  atEnd(async () => {
    await session.close();
    if (recorder.broken.length > 0) throw new Error(recorder.broken.join("; "));
  });
  return { recorder, session };
}

/** The request for a frame; its number is also the time stamp. */
export function requestOf(frame: number, forceKeyFrame = false): FrameRequest {
  return { frame, ptsNs: frame, durationNs: 0, forceKeyFrame };
}

/** Encodes sources one after the other, the next when the last has been read. */
export async function encodeSources(
  configuration: EncoderConfiguration,
  sources: Iterable<FrameSource>,
  options: SessionOptions & {
    /** Frames with a forced key. */
    readonly force?: readonly number[];
    readonly before?: (frame: number, session: EncoderSession) => void;
  } = {},
): Promise<Recorder> {
  const { recorder, session } = await openSession(configuration, options);
  let frame = 0;
  for (const source of sources) {
    options.before?.(frame, session);
    session.encode(source, requestOf(frame, options.force?.includes(frame)));
    await session.drain();
    frame++;
  }
  await session.close();
  return recorder;
}

/** Encodes `frames` drawings, one at a time: the guest draws the next one when the last has been read. */
export async function encodePattern(
  configuration: EncoderConfiguration,
  frames: number,
  place: Partial<Placement> = {},
  options: Parameters<typeof encodeSources>[2] = {},
) {
  const { width, height } = configuration;
  const canvas = await Canvas.create(width, height, placement(configuration, place));
  const images: RgbImage[] = [];
  let description: EncoderDescription | undefined;
  function* drawings() {
    for (let frame = 0; frame < frames; frame++) {
      const image = drawPattern(width, height, frame);
      images.push(image);
      canvas.draw(image);
      yield canvas.picture;
    }
  }
  const recorder = await encodeSources(configuration, drawings(), {
    ...options,
    before: (frame, session) => {
      options.before?.(frame, session);
      description = session.description;
    },
  });
  return { recorder, images, description };
}
export type Encoded = Awaited<ReturnType<typeof encodePattern>>;

/** Option of encodePattern that reconfigures the session ahead of some frames. */
export function reconfiguring(
  configuration: EncoderConfiguration,
  changes: Readonly<Record<number, Partial<EncoderConfiguration>>>,
) {
  const before = (frame: number, session: EncoderSession): void => {
    const wanted = { ...configuration, ...changes[frame] };
    if (frame in changes && !session.reconfigure(wanted)) throw new Error(`frame ${frame}: not reconfigured`);
  };
  return { before };
}

/** kbit/s of the packets from … to-1, at 30 frames a second. */
export function kbpsOf({ packets }: Recorder, from: number, to: number): number {
  const bytes = packets.slice(from, to).reduce((sum, { data }) => sum + data.length, 0);
  return (bytes * 8 * 30) / (to - from) / 1000;
}
