/** Codecs and profiles by name, as the configuration, the viewer and the encoders use them. */

export type CodecName = "h264" | "h265";

/** Profiles that a stream can be asked for, by codec. */
export const PROFILES = {
  h264: ["constrained-baseline", "main", "high"],
  h265: ["main"],
} as const satisfies Record<CodecName, readonly string[]>;

export type ProfileName = (typeof PROFILES)[CodecName][number];
