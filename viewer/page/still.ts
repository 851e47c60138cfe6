/** Makes a small picture of one key access unit, for the list. */
import { NAL_PPS, NAL_SPS, nalType, splitNalUnits, toSample } from "./player/annexb.ts";
import { fragment, initialization } from "./player/fmp4.ts";
import { hasWebCodecs } from "./player/webcodecs.ts";

/** No picture came of it. */
export class StillError extends Error {
  override readonly name = "StillError";
}

const TIMEOUT_MS = 4000;

/**
 * Draws a key access unit on a canvas, scaled to the canvas's width; sets the canvas's height.
 *
 * @param data Annex B, with its parameter sets
 * @throws StillError
 */
export async function drawStill(
  canvas: HTMLCanvasElement,
  codec: string,
  data: Uint8Array<ArrayBuffer>,
): Promise<void> {
  if (hasWebCodecs()) return decodeStill(canvas, codec, data);
  if (!codec.startsWith("avc1.")) throw new StillError("Only H.264 can be shown over plain HTTP.");
  return playStill(canvas, data);
}

function decodeStill(canvas: HTMLCanvasElement, codec: string, data: Uint8Array<ArrayBuffer>): Promise<void> {
  return new Promise((resolve, reject) => {
    const decoder = new VideoDecoder({
      output(frame) {
        draw(canvas, frame, frame.displayWidth, frame.displayHeight);
        frame.close();
      },
      error: (error) => reject(new StillError(error.message)),
    });
    decoder.configure({ codec, optimizeForLatency: true });
    decoder.decode(new EncodedVideoChunk({ type: "key", timestamp: 0, data }));
    decoder.flush().then(
      () => {
        decoder.close();
        resolve();
      },
      (error: Error) => reject(new StillError(error.message)),
    );
  });
}

/** Without WebCodecs: a film of one picture. */
async function playStill(canvas: HTMLCanvasElement, data: Uint8Array): Promise<void> {
  const units = splitNalUnits(data);
  const sps = units.find((unit) => nalType(unit) === NAL_SPS);
  const pps = units.find((unit) => nalType(unit) === NAL_PPS);
  if (sps === undefined || pps === undefined) throw new StillError("The key frame has no parameter sets.");
  const sample = { sequence: 1, timeUs: 0, durationUs: 1_000_000, key: true, data: toSample(units) };
  // The element takes the size from the SPS as soon as it has a picture.
  const film = new Blob([initialization({ width: 16, height: 16, sps, pps }), fragment(sample)], {
    type: "video/mp4",
  });
  const video = document.createElement("video");
  video.muted = true;
  const url = URL.createObjectURL(film);
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = window.setTimeout(() => reject(new StillError("No picture came.")), TIMEOUT_MS);
      // Sooner, e.g. at loadeddata, a canvas may get nothing.
      video.requestVideoFrameCallback(() => {
        window.clearTimeout(timer);
        resolve();
      });
      video.onerror = () => reject(new StillError(video.error?.message ?? "The picture was refused."));
      video.src = url;
    });
    draw(canvas, video, video.videoWidth, video.videoHeight);
  } finally {
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}

function draw(canvas: HTMLCanvasElement, picture: CanvasImageSource, width: number, height: number): void {
  if (width === 0 || height === 0) return;
  canvas.height = Math.round((canvas.width * height) / width);
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
}
