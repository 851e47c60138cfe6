/**
 * The interface of encoders, independent of the library that does the work.
 *
 * A back end opens sessions. A session encodes the frames of one stream, in order, on its own thread. The JavaScript
 * thread passes mapped pictures and receives events when the pixels have been read and when the access unit is ready.
 * Nothing here blocks.
 */
import type { CodecName, ProfileName } from "../../common/codec.ts";
import { LIMITS } from "../../proto/limits.ts";
import type { InlineFrame } from "../native/inline-picture.ts";
import type { Picture } from "../native/picture.ts";

/** The pixels of a frame: a picture in resources, or a frame of an InlinePicture. */
export type FrameSource = Picture | InlineFrame;

/**
 * "cbr": the stream never exceeds the bit rate, over a buffer of one second. "vbr": it keeps the bit rate on average, with
 * peaks of twice as much and a buffer of two seconds.
 */
export type RateControl = "cbr" | "vbr";

/** Such as a frame rate (frames a second; 0/1 when it varies) or a pixel aspect ratio. */
export interface Fraction {
  readonly numerator: number;
  readonly denominator: number;
}

/** Code points of ISO/IEC 23091-2. 0 means "unknown" in a configuration and never occurs in a description. */
export interface Colorimetry {
  readonly primaries: number;
  readonly transfer: number;
  readonly matrix: number;
  readonly fullRange: boolean;
}

/** An encoder that a back end can open. */
export interface EncoderOffer {
  /** The encoder's own name, e.g. "libx264". */
  readonly name: string;
  readonly codec: CodecName;
  readonly maxWidth: number;
  readonly maxHeight: number;
  readonly hardware: boolean;
  /** Profiles that it can be configured for, its preferred one first. */
  readonly profiles: readonly ProfileName[];
}

/** A stream as the guest configured it, checked by the relay. */
export interface EncoderConfiguration {
  readonly codec: CodecName;
  /** Visible size in pixels; odd sizes are rounded up by repeating the last column and row. */
  readonly width: number;
  readonly height: number;
  readonly framerate: Fraction;
  /** One of its codec's; undefined: the back end chooses. */
  readonly profile: ProfileName | undefined;
  /** Numbers of the levels that may be declared (levels.ts); the lowest sufficient one is used. Empty: any. */
  readonly levels: readonly number[];
  /** 0: the back end chooses. */
  readonly bitrateKbps: number;
  readonly rateControl: RateControl;
  /** Frames from one key frame to the next; 0: the back end chooses. */
  readonly keyframeInterval: number;
  /**
   * Of the pictures in memory. Matrix 0 announces RGB, any other NV12 and I420 (2 if it is unknown); a session takes
   * frames of one of the two kinds. EncoderDescription has the colorimetry of the encoded stream.
   */
  readonly colorimetry: Colorimetry;
  readonly pixelAspectRatio: Fraction;
}

/** The encoder and settings that a configuration led to. */
export interface EncoderDescription {
  readonly encoder: string;
  readonly hardware: boolean;
  /** Size of a decoded and cropped picture. */
  readonly width: number;
  readonly height: number;
  /** As written into the VUI. */
  readonly colorimetry: Colorimetry;
  /** In force, including values that the back end chose. */
  readonly bitrateKbps: number;
  readonly keyframeInterval: number;
}

export interface FrameRequest {
  /** The caller's number for the frame; every event about it has the same. */
  readonly frame: number;
  readonly ptsNs: number;
  readonly durationNs: number;
  readonly forceKeyFrame: boolean;
}

export interface EncodedPacket {
  readonly frame: number;
  readonly key: boolean;
  /** The access unit, Annex B, parameter sets before every IDR. */
  readonly data: Uint8Array;
  /** Durations by the host's monotonic clock, in microseconds. */
  readonly queueUs: number;
  readonly convertUs: number;
  readonly encodeUs: number;
}

/**
 * The events of a session. Every frame passed to `encode` gets one "read" and then one of "packet", "dropped" and
 * "frame-failed".
 *
 * - read: the picture's pixels will not be read again for this frame.
 * - dropped: the encoder returned no access unit, or flush() or close() removed the frame.
 * - frame-failed: this frame cannot be encoded; the session continues.
 * - failed: the session as a whole has failed; it takes no more frames. hung: its driver did not answer.
 * - replaced: another encoder, or the same one opened again, continues the stream with a key frame.
 * - note: for the log: the encoder's name, what it rejected, what has been recovered.
 */
export type EncoderEvent =
  | { readonly kind: "read"; readonly frame: number }
  | ({ readonly kind: "packet" } & EncodedPacket)
  | { readonly kind: "dropped"; readonly frame: number; readonly reason: "flushed" | "encoder" }
  | { readonly kind: "frame-failed"; readonly frame: number; readonly message: string }
  | { readonly kind: "failed"; readonly message: string; readonly hung?: true }
  | { readonly kind: "replaced"; readonly from: EncoderDescription; readonly to: EncoderDescription }
  | { readonly kind: "note"; readonly message: string };

/** Receives the events of a session, never from within a call of its methods. */
export type EncoderListener = (event: EncoderEvent) => void;

export interface EncoderSession {
  /** Of the configuration in force: it changes with `reconfigure`. */
  readonly description: EncoderDescription;
  /**
   * Queues one frame. Its pixels stay until "read", even if their owner closes the source meanwhile (while a failed
   * encoder is replaced, such a frame is dropped).
   *
   * "frame-failed" answers a frame of another size than the session's, of RGB where YUV is configured or the reverse,
   * or with a time stamp that does not exceed the last one.
   *
   * @throws EncoderBusyError when MAX_IN_FLIGHT_FRAMES are unanswered;
   *   EncoderFailedError when the session has failed or is closed.
   */
  encode(source: FrameSource, request: FrameRequest): void;
  /**
   * Changes bit rate and key-frame interval from the next frame on. Returns false if the change needs a new session,
   * such as a bit rate that the declared level does not allow.
   *
   * @throws EncoderUnavailableError when a new session could not do it either.
   */
  reconfigure(configuration: EncoderConfiguration): boolean;
  /** Settles when every frame queued so far has been answered. The session can be used afterwards. */
  drain(): Promise<void>;
  /** Drops every queued frame (those being encoded may still become packets), then settles. */
  flush(): Promise<void>;
  /**
   * Flushes and ends the session. No event follows.
   *
   * @throws EncoderHungError when the driver does not answer; the session has ended all the same.
   */
  close(): Promise<void>;
}

export interface EncoderBackend {
  readonly name: string;
  /**
   * The encoders that work on this machine, best first. Probed once, within bounded time.
   *
   * @throws NativeAddonError
   */
  offers(): Promise<readonly EncoderOffer[]>;
  /** The reason why `offers` is empty. */
  readonly unavailable?: string | undefined;
  /** @throws EncoderUnavailableError, EncoderFailedError, EncoderFullError, EncoderHungError */
  open(configuration: EncoderConfiguration, listener: EncoderListener): Promise<EncoderSession>;
}

/** Base of the errors that an encoder reports. */
export class EncoderError extends Error {
  override readonly name: string = "EncoderError";
}

/** There is no encoder for this codec, size or setting on this machine. */
export class EncoderUnavailableError extends EncoderError {
  override readonly name = "EncoderUnavailableError";
}

/** The encoder rejected something or failed; the message includes its own. */
export class EncoderFailedError extends EncoderError {
  override readonly name = "EncoderFailedError";
}

/** The encoder works, but has no room for another session now. */
export class EncoderFullError extends EncoderError {
  override readonly name = "EncoderFullError";
}

/** The driver does not answer. What it has keeps a thread and its memory until the process ends. */
export class EncoderHungError extends EncoderError {
  override readonly name = "EncoderHungError";
}

/** More frames are unanswered than a session allows. */
export class EncoderBusyError extends EncoderError {
  override readonly name = "EncoderBusyError";
}

/** @throws EncoderBusyError when the session has as many unanswered frames as it may. */
export function checkInFlight(frame: number, unanswered: number): void {
  const most = LIMITS.MAX_IN_FLIGHT_FRAMES;
  if (unanswered < most) return;
  throw new EncoderBusyError(`frame ${frame} exceeds the limit of ${most} unanswered frames`);
}
