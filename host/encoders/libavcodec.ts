/**
 * The libavcodec back end: one of its encoders, by name. Encoders differ in the table below; opening, threads and
 * conversion are the same for all (host/native/media/encoder/session.h has the theory of operation).
 */
import { PROFILES, type ProfileName } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { EncoderOffer, RateControl } from "./encoder.ts";
import { type LibavcodecSettings, NativeBackend, type NativeBackendOptions } from "./native.ts";
import type { StreamPlan } from "./plan.ts";

interface EncoderProfile extends Omit<EncoderOffer, "name"> {
  readonly input: LibavcodecSettings["input"];
  /** The rate controls in which it can change its bit rate in mid-stream; in others it is re-opened for that. */
  readonly liveRate: readonly RateControl[];
  /**
   * Private options (`ffmpeg -h encoder=NAME`). With them it must return each access unit at once, make an IDR of each
   * forced key frame, insert no key frame by itself, and declare exactly the profile and level.
   */
  readonly options: (plan: StreamPlan, own: OwnOptions) => Readonly<Record<string, string>>;
}

interface OwnOptions {
  readonly threads: number;
  readonly device: EncoderDevice;
}

/** The GPU of the hardware encoders, where a machine has several. */
export interface EncoderDevice {
  /** Path of the render node; without it, libva chooses. */
  readonly vaapi?: string | undefined;
  /** CUDA's number of the GPU; without it, the first that can encode. */
  readonly nvenc?: number | undefined;
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
  options: ({ profile, level }: StreamPlan) => ({
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
  options: ({ profile, level, rateControl }: StreamPlan, { device: { nvenc } }: OwnOptions) => ({
    ...(nvenc === undefined ? {} : { gpu: String(nvenc) }),
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
const ENCODER_PROFILES = {
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
    options: ({ level, fixedRate }, { threads }) => ({
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

export interface LibavcodecOptions extends NativeBackendOptions {
  /** Threads of a session. Each beyond the first costs some quality, as every thread codes a slice. Default 1. */
  readonly threads?: number;
  /** Added to the encoder's private options, or replacing them. */
  readonly options?: Readonly<Record<string, string>>;
  readonly device?: EncoderDevice;
}

const MAX_THREADS = 64;

export class LibavcodecBackend extends NativeBackend {
  readonly name: LibavcodecEncoderName;
  protected readonly candidates: readonly EncoderOffer[];
  readonly #profile: EncoderProfile;
  readonly #own: OwnOptions;
  readonly #options: Readonly<Record<string, string>>;

  /** @throws RangeError for a number of threads that is not 1 … 64. */
  constructor(name: LibavcodecEncoderName, options: LibavcodecOptions = {}) {
    const { threads = 1, device = {} } = options;
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw new RangeError(`threads is ${threads}, expected a whole number from 1 to ${MAX_THREADS}`);
    }
    super(options);
    this.name = name;
    this.#profile = ENCODER_PROFILES[name];
    const { codec, hardware, maxWidth, maxHeight, profiles } = this.#profile;
    this.candidates = [{ name, codec, hardware, maxWidth, maxHeight, profiles }];
    this.#own = { threads, device };
    this.#options = options.options ?? {};
  }

  protected settings(plan: StreamPlan): LibavcodecSettings {
    const { input, liveRate, options } = this.#profile;
    const { threads, device } = this.#own;
    return {
      backend: "libavcodec",
      name: this.name,
      input,
      liveRate: liveRate.includes(plan.rateControl),
      device: device.vaapi ?? "",
      threads,
      options: { ...options(plan, this.#own), ...this.#options },
    };
  }
}
