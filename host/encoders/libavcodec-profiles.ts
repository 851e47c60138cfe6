/** How each of libavcodec's encoders is configured. */

import { type CodecName, PROFILES, type ProfileName } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { RateControl } from "./encoder.ts";
import type { LibavcodecSettings } from "./native-session.ts";

/** The inputs of an encoder's private options. */
export interface OptionInputs {
  readonly threads: number;
  readonly profile: ProfileName;
  /** level_idc or general_level_idc, see levels.ts. */
  readonly level: number;
  readonly rateControl: RateControl;
  /** The stream has a fixed frame rate, which the VUI states. */
  readonly fixedRate: boolean;
}

export interface EncoderProfile {
  readonly codec: CodecName;
  readonly profiles: readonly ProfileName[];
  readonly hardware: boolean;
  readonly maxWidth: number;
  readonly maxHeight: number;
  readonly input: LibavcodecSettings["input"];
  /** The rate controls in which it can change its bit rate in mid-stream; in others it is re-opened for that. */
  readonly liveRate: readonly RateControl[];
  /**
   * Private options (`ffmpeg -h encoder=NAME`). With them it must return each access unit at once, make an IDR of each
   * forced key frame, insert no key frame by itself, and declare exactly the profile and level.
   */
  readonly options: (inputs: OptionInputs) => Readonly<Record<string, string>>;
}

/** A GPU may support less; its driver reports that when the encoder opens. */
const SIZES = {
  maxWidth: LIMITS.MAX_DIMENSION,
  maxHeight: LIMITS.MAX_DIMENSION,
} as const;
const SOFTWARE = { hardware: false, input: "i420", ...SIZES } as const;
/** CABAC and the 8x8 transform cost hardware nothing. */
const HARDWARE_H264 = ["high", "main", "constrained-baseline"] as const;
/**
 * The driver writes parameter sets for every IDR. libavcodec reads the bit rate only when it opens the encoder, and
 * chooses CBR or VBR by whether the peak exceeds it (rc_mode auto), if the driver supports them.
 */
const VAAPI = {
  hardware: true,
  input: "vaapi",
  liveRate: [],
  options: ({ profile, level }: OptionInputs) => ({
    async_depth: "1",
    profile: profile.replace("-", "_"),
    level: String(level),
  }),
  ...SIZES,
} as const;
const NVENC = {
  hardware: true,
  input: "nv12",
  liveRate: ["cbr", "vbr"],
  options: ({ profile, level, rateControl }: OptionInputs) => ({
    preset: "p4",
    tune: "ull",
    rc: rateControl,
    delay: "0",
    zerolatency: "1",
    "forced-idr": "1",
    "no-scenecut": "1",
    profile: profile === "constrained-baseline" ? "baseline" : profile,
    level: String(level),
  }),
  ...SIZES,
} as const;
/** By x264's names. It declares the lowest profile with the tools used, so each needs a tool that the one below lacks. */
const X264_PROFILES = {
  "constrained-baseline": { profile: "baseline", coder: "cavlc", "8x8dct": "0" },
  main: { profile: "main", coder: "cabac", "8x8dct": "0" },
  high: { profile: "high", coder: "cabac", "8x8dct": "1" },
} as const satisfies Record<ProfileName, Readonly<Record<string, string>>>;

/** Best first for each codec. A new encoder is an entry here. */
export const ENCODER_PROFILES = {
  h264_vaapi: { codec: "h264", profiles: HARDWARE_H264, ...VAAPI },
  h264_nvenc: { codec: "h264", profiles: HARDWARE_H264, ...NVENC },
  libx264: {
    codec: "h264",
    // The default of preset ultrafast comes first.
    profiles: PROFILES.h264,
    ...SOFTWARE,
    // In CBR, x264_encoder_reconfig changes the rate at once. In VBR it changes only the cap: 15 seconds after a change
    // from 1 to 4 Mbit/s, noise still got as many bits as before. It cannot change from one to the other ("keep it CBR"
    // in x264's ratecontrol.c), so that needs a new session.
    liveRate: ["cbr"],
    options: ({ profile, level }) => ({
      // On one thread of a 2-core machine, 1080p at 8 Mbit/s: ultrafast 4.1 ms a frame and 39.4 dB, superfast 8.3 ms
      // and 40.3 dB, veryfast 11.4 ms and 40.9 dB. A host serves many guests: the decibel is not worth the double.
      preset: "ultrafast",
      // No look-ahead, no B frames, no frame threads, rate control by frame numbers.
      tune: "zerolatency",
      "forced-idr": "1",
      // Key frames come on request, not when the picture changes.
      "x264-params": "scenecut=0",
      ...X264_PROFILES[profile],
      level: String(level),
    }),
  },
  hevc_vaapi: { codec: "h265", profiles: PROFILES.h265, ...VAAPI },
  hevc_nvenc: { codec: "h265", profiles: PROFILES.h265, ...NVENC },
  libx265: {
    codec: "h265",
    profiles: PROFILES.h265,
    ...SOFTWARE,
    liveRate: [],
    // Its VUI is its own except for the options below: it needs no bitstream_restriction, as the SPS itself forbids
    // reordering (sps_max_num_reorder_pics), and has no flag for a fixed frame rate without an HRD.
    options: ({ threads, level, fixedRate }) => ({
      preset: "ultrafast",
      tune: "zerolatency",
      "forced-idr": "1",
      profile: "main",
      "x265-params": [
        "scenecut=0",
        "repeat-headers=1",
        // Without it, every key frame carries 2.5 KB of settings as text.
        "info=0",
        // Its log goes to standard error, which belongs to the program.
        "log-level=none",
        // By default x265 has a thread pool as large as the machine.
        "frame-threads=1",
        threads > 1 ? `pools=${threads}` : "pools=none",
        // Its option takes ten times the level. The limits of levels.ts are those of the main tier.
        `level-idc=${level / 3}`,
        "high-tier=0",
        `vui-timing-info=${fixedRate ? 1 : 0}`,
      ].join(":"),
    }),
  },
} as const satisfies Record<string, EncoderProfile>;

/** An encoder of libavcodec that this back end supports. */
export type LibavcodecEncoderName = keyof typeof ENCODER_PROFILES;

/** All of them, best first. */
export const LIBAVCODEC_ENCODERS = Object.keys(ENCODER_PROFILES) as readonly LibavcodecEncoderName[];
