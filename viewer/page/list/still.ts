/** Draws a thumbnail from access units, for the list. */
import { errorText } from "../../../common/error-text.ts";
import { NAL_PPS, NAL_SPS, nalType, splitNalUnits, toSample } from "../player/mse/annexb.ts";
import { fragment, initialization } from "../player/mse/fmp4.ts";
import { hasWebCodecs } from "../player/webcodecs.ts";

/** The access units could not be decoded to a picture. */
export class StillError extends Error {
  override readonly name = "StillError";
}

const TIMEOUT_MS = 10_000;

type Units = readonly Uint8Array[];

/**
 * Draws the last picture of the access units on a canvas, scaled to the canvas's width; sets the canvas's height.
 *
 * @param units Annex B, starting with a key unit with its parameter sets
 * @throws StillError
 */
export async function drawStill(canvas: HTMLCanvasElement, codec: string, units: Units): Promise<void> {
  if (hasWebCodecs()) return decodeStill(canvas, codec, units);
  if (!codec.startsWith("avc1.")) throw new StillError("Over plain HTTP only H.264 can be shown.");
  return playStill(canvas, units);
}

async function decodeStill(canvas: HTMLCanvasElement, codec: string, units: Units): Promise<void> {
  let last: VideoFrame | undefined;
  let failure: DOMException | undefined;
  const decoder = new VideoDecoder({
    output(frame) {
      last?.close();
      last = frame;
    },
    error(error) {
      failure = error;
    },
  });
  try {
    decoder.configure({ codec, optimizeForLatency: true });
    for (const [timestamp, data] of units.entries()) {
      const type = timestamp === 0 ? "key" : "delta";
      decoder.decode(new EncodedVideoChunk({ type, timestamp, data: data as Uint8Array<ArrayBuffer> }));
    }
    await decoder.flush();
    decoder.close();
    if (last !== undefined) draw(canvas, last, last.displayWidth, last.displayHeight);
  } catch (error) {
    throw new StillError(failure?.message ?? errorText(error));
  } finally {
    last?.close();
  }
}

/** Durations of the film's pictures, in seconds: the element seeks to the last one. */
const LAST_S = 1;
const PASSING_S = 0.01;

/** Without WebCodecs: plays a film of the units, and draws its last picture. */
async function playStill(canvas: HTMLCanvasElement, units: Units): Promise<void> {
  const nalUnits = units.map(splitNalUnits);
  const sps = nalUnits[0]?.find((unit) => nalType(unit) === NAL_SPS);
  const pps = nalUnits[0]?.find((unit) => nalType(unit) === NAL_PPS);
  if (sps === undefined || pps === undefined) throw new StillError("The key frame has no parameter sets.");
  const last = units.length - 1;
  const fragments = nalUnits.map((data, index) =>
    fragment({
      sequence: index + 1,
      timeUs: index * PASSING_S * 1e6,
      durationUs: (index === last ? LAST_S : PASSING_S) * 1e6,
      key: index === 0,
      data: toSample(data),
    }),
  );
  // The element reads the size from the SPS with its first picture.
  const film = new Blob([initialization({ width: 16, height: 16, sps, pps }), ...fragments], {
    type: "video/mp4",
  });
  const video = document.createElement("video");
  video.muted = true;
  const url = URL.createObjectURL(film);
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (reason: string): void => reject(new StillError(reason));
      window.setTimeout(fail, TIMEOUT_MS, "The video element shows no picture.");
      video.onloadedmetadata = () => {
        video.currentTime = last * PASSING_S + LAST_S / 2;
      };
      // Earlier, e.g. at loadeddata, a canvas may get nothing.
      video.onseeked = () => resolve();
      video.onerror = () => fail(video.error?.message ?? "The video element rejected the picture.");
      video.src = url;
    });
    draw(canvas, video, video.videoWidth, video.videoHeight);
  } finally {
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}

/** Draws an image on a canvas, scaled to the canvas's width; sets the canvas's height. */
export function draw(
  canvas: HTMLCanvasElement,
  picture: CanvasImageSource,
  width: number,
  height: number,
): void {
  if (width === 0 || height === 0) return;
  canvas.height = Math.round((canvas.width * height) / width);
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
}
