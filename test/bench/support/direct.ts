/** The encoder without a relay: the same native session in this process, with the same pictures. */
import type { EncodedPacket, EncoderConfiguration, EncoderSession } from "../../../host/encoders/encoder.ts";
import { createBackend, isEncoderName } from "../../../host/encoders/index.ts";
import { ExportClient } from "../../../host/export/client.ts";
import { Picture, PictureBudget } from "../../../host/native/picture.ts";
import { fourcc } from "../../../proto/formats.ts";
import { KEYFRAME_INTERVAL, type StreamSize } from "./guest.ts";

/** Differences from a guest's usual Configure; pictures' rows have no padding. */
interface StreamChoice {
  readonly format?: "BGRx" | "NV12";
  readonly profile?: EncoderConfiguration["profile"];
}

const BT709 = { primaries: 1, transfer: 1, matrix: 1, fullRange: false };
/** Matrix 0 announces RGB. */
const RGB = { primaries: 0, transfer: 0, matrix: 0, fullRange: false };

const FRAME_NS = 16_666_667;

/** In microseconds. */
export interface FrameTimes {
  readonly total: number;
  readonly convert: number;
  readonly encode: number;
}

export class DirectEncoder {
  readonly #session: EncoderSession;
  readonly #pictures: readonly Picture[];
  #onPacket: (packet: EncodedPacket) => void = () => {};
  #nextFrame = 0;

  private constructor(session: EncoderSession, pictures: readonly Picture[]) {
    this.#session = session;
    this.#pictures = pictures;
  }

  /** Opens `encoder` as the relay does for a guest's Configure, and maps the exporter's resources. */
  static async open(
    encoder: string,
    size: StreamSize,
    exportPath: string,
    resources: readonly number[],
    { format = "BGRx", profile }: StreamChoice = {},
  ): Promise<DirectEncoder> {
    if (!isEncoderName(encoder)) throw new RangeError(`unknown encoder "${encoder}"`);
    const pictures = await mapPictures(size, exportPath, resources, format);
    const session = await createBackend([encoder]).open(
      {
        ...{ codec: "h264", ...size, bitrateKbps: 8000, keyframeInterval: KEYFRAME_INTERVAL },
        framerate: { numerator: 60, denominator: 1 },
        profile,
        levels: [],
        rateControl: "cbr",
        colorimetry: format === "NV12" ? BT709 : RGB,
        pixelAspectRatio: { numerator: 1, denominator: 1 },
      },
      (event) => {
        if (event.kind === "packet") direct.#onPacket(event);
        else if (event.kind === "dropped") throw new Error(`frame ${event.frame} was dropped`);
        else if ("message" in event && event.kind !== "note") throw new Error(event.message);
      },
    );
    const direct = new DirectEncoder(session, pictures);
    return direct;
  }

  /** Encodes `frames` frames, `inFlight` of them queued at a time; frames a second. */
  async run(frames: number, inFlight: number): Promise<number> {
    let sent = 0;
    let left = frames;
    const started = performance.now();
    await new Promise<void>((resolve) => {
      const send = (): void => {
        if (sent === frames) return;
        sent += 1;
        this.#encode();
      };
      this.#onPacket = () => {
        left -= 1;
        if (left === 0) resolve();
        send();
      };
      for (let ahead = 0; ahead < inFlight; ahead += 1) send();
    });
    return (frames * 1000) / (performance.now() - started);
  }

  /**
   * Encodes frames one at a time; of each, the microseconds until its packet was there, and the session's own times.
   *
   * @param encodeUs the encoder's share, where it is known better than the session can
   */
  async times(
    frames: number,
    encodeUs: (packet: EncodedPacket) => number = (packet) => packet.encodeUs,
  ): Promise<FrameTimes[]> {
    const times: FrameTimes[] = [];
    for (let left = frames; left > 0; left -= 1) {
      const started = performance.now();
      const packet = await new Promise<EncodedPacket>((resolve) => {
        this.#onPacket = resolve;
        this.#encode();
      });
      const total = (performance.now() - started) * 1000;
      times.push({ total, convert: packet.convertUs, encode: encodeUs(packet) });
    }
    return times;
  }

  async close(): Promise<void> {
    await this.#session.close();
    for (const picture of this.#pictures) await picture.close();
  }

  #encode(): void {
    const frame = this.#nextFrame++;
    const picture = this.#pictures[frame % this.#pictures.length];
    if (picture === undefined) throw new Error("no pictures");
    const ptsNs = frame * FRAME_NS;
    this.#session.encode(picture, { frame, ptsNs, durationNs: FRAME_NS, forceKeyFrame: frame === 0 });
  }
}

async function mapPictures(
  size: StreamSize,
  exportPath: string,
  resources: readonly number[],
  format: "BGRx" | "NV12",
): Promise<Picture[]> {
  const { width, height } = size;
  const layouts =
    format === "BGRx"
      ? [{ offset: 0, stride: width * 4 }]
      : [0, width * height].map((offset) => ({ offset, stride: width }));
  const ignore = (): void => {};
  const client = await ExportClient.connect(exportPath, {
    ...{ onRevoke: ignore, onScanout: ignore, onDamage: ignore, onClose: ignore },
  });
  const pictures: Picture[] = [];
  for (const id of resources) {
    const { extents, memories } = await client.acquire(id);
    const memory = {
      extents: extents.map(({ memory, offset, length }) => {
        const fd = memories.get(memory)?.descriptor;
        if (fd === undefined) throw new Error("an extent without a memory");
        return { fd, offset, length };
      }),
    };
    const planes = layouts.map((plane) => ({ memory, ...plane }));
    const visible = { x: 0, y: 0, ...size };
    pictures.push(
      await Picture.map(
        { ...size, fourcc: fourcc(format === "BGRx" ? "XR24" : format), planes, visible },
        new PictureBudget(16384),
      ),
    );
  }
  // The mappings stay valid, because these resources are not revoked.
  client.close();
  return pictures;
}
