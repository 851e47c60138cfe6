/** How each of libavcodec's encoders is used: all that distinguishes them. */
import { LIMITS } from "../../proto/limits.ts";
import type { CodecName } from "./encoder.ts";
import type { NativeSettings } from "./native-session.ts";

export interface EncoderProfile {
  readonly codec: CodecName;
  readonly hardware: boolean;
  readonly maxWidth: number;
  readonly maxHeight: number;
  readonly input: NativeSettings["input"];
  readonly liveRate: boolean;
  /**
   * Private options (`ffmpeg -h encoder=NAME`) for a number of threads. They must make it give each frame's access
   * unit at once, a forced key frame an IDR, and no key frame by itself.
   */
  readonly options: (threads: number) => Readonly<Record<string, string>>;
}

/** What a GPU takes of them, its driver says when it opens. */
const SIZES = {
  maxWidth: LIMITS.MAX_DIMENSION,
  maxHeight: LIMITS.MAX_DIMENSION,
} as const;
const SOFTWARE = { hardware: false, input: "i420", ...SIZES } as const;
/** Its driver makes parameter sets for every IDR. libavcodec reads the bit rate when it opens, never again. */
const VAAPI = {
  hardware: true,
  input: "vaapi",
  liveRate: false,
  options: () => ({ async_depth: "1" }),
  ...SIZES,
} as const;
const NVENC = {
  hardware: true,
  input: "nv12",
  liveRate: true,
  options: () => ({
    preset: "p4",
    tune: "ull",
    rc: "cbr",
    delay: "0",
    zerolatency: "1",
    "forced-idr": "1",
    "no-scenecut": "1",
  }),
  ...SIZES,
} as const;

/** Best first for each codec. A new encoder is an entry here. */
export const ENCODER_PROFILES = {
  h264_vaapi: { codec: "h264", ...VAAPI },
  h264_nvenc: { codec: "h264", ...NVENC },
  libx264: {
    codec: "h264",
    ...SOFTWARE,
    liveRate: true,
    options: () => ({
      // On one thread of a 2-core machine, 1080p at 8 Mbit/s: ultrafast 4.1 ms a frame and 39.4 dB, superfast 8.3 ms
      // and 40.3 dB, veryfast 11.4 ms and 40.9 dB. A host serves many guests: the decibel is not worth the double.
      preset: "ultrafast",
      // No look-ahead, no B frames, no frame threads, rate control by frame numbers.
      tune: "zerolatency",
      "forced-idr": "1",
      // Key frames come when they are asked for, not when the picture changes.
      "x264-params": "scenecut=0",
    }),
  },
  hevc_vaapi: { codec: "h265", ...VAAPI },
  hevc_nvenc: { codec: "h265", ...NVENC },
  libx265: {
    codec: "h265",
    ...SOFTWARE,
    liveRate: false,
    options: (threads) => ({
      preset: "ultrafast",
      tune: "zerolatency",
      "forced-idr": "1",
      "x265-params": [
        "scenecut=0",
        "repeat-headers=1",
        // Else every key frame carries 2.5 KB of its settings as text.
        "info=0",
        // It would write to standard error, which belongs to the program.
        "log-level=none",
        // x265 has a thread pool of its own, as large as the machine unless told.
        "frame-threads=1",
        threads > 1 ? `pools=${threads}` : "pools=none",
      ].join(":"),
    }),
  },
} as const satisfies Record<string, EncoderProfile>;

/** An encoder of libavcodec that this back end knows how to use. */
export type LibavcodecEncoderName = keyof typeof ENCODER_PROFILES;

/** All that are known, best first. */
export const LIBAVCODEC_ENCODERS = Object.keys(ENCODER_PROFILES) as readonly LibavcodecEncoderName[];
