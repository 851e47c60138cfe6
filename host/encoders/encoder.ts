/**
 * What the relay asks of an encoder, whichever library does the work.
 *
 * A back end opens sessions; a session encodes the frames of one stream, in order, on a thread of its own. The
 * JavaScript thread hands over a mapped picture and is told by events when the pixels have been read and when
 * the access unit is there. Nothing here blocks.
 */
import type { CodecName, ProfileName } from "../../common/codec.ts";
import type { InlineFrame } from "../native/inline-picture.ts";
import type { Picture } from "../native/picture.ts";

/** What holds the pixels of a frame: a picture in resources, or a frame of an InlinePicture. */
export type FrameSource = Picture | InlineFrame;

/**
 * How strictly the bit rate is kept. "cbr": at no time more than it, over a buffer of one second. "vbr": on average,
 * with peaks of twice as much and a buffer of two seconds.
 */
export type RateControl = "cbr" | "vbr";

/** Code points of ISO/IEC 23091-2; 0 means "not told" on the way in and never occurs on the way out. */
export interface Colorimetry {
  readonly primaries: number;
  readonly transfer: number;
  readonly matrix: number;
  readonly fullRange: boolean;
}

/** What a back end can open. */
export interface EncoderOffer {
  /** The encoder's own name, e.g. "libx264". */
  readonly name: string;
  readonly codec: CodecName;
  readonly maxWidth: number;
  readonly maxHeight: number;
  readonly hardware: boolean;
  /** What it can be configured for, the one that suits it best first. */
  readonly profiles: readonly ProfileName[];
}

/** A stream as the guest configured it, checked by the relay. */
export interface EncoderConfiguration {
  readonly codec: CodecName;
  /** Visible size in pixels; odd sizes are rounded up by repeating the last column and row. */
  readonly width: number;
  readonly height: number;
  /** Frames a second as a fraction; 0/1 when it varies. */
  readonly framerate: { readonly numerator: number; readonly denominator: number };
  /** One of its codec's; undefined: the back end chooses. */
  readonly profile: ProfileName | undefined;
  /** Numbers of the levels that may be declared (levels.ts), of which the lowest that is enough is taken; empty: any. */
  readonly levels: readonly number[];
  /** 0: the back end chooses. */
  readonly bitrateKbps: number;
  readonly rateControl: RateControl;
  /** Frames from one key frame to the next; 0: the back end chooses. */
  readonly keyframeInterval: number;
  /**
   * Of the pictures in memory. Matrix 0 announces RGB, any other NV12 and I420 (2 where it is not told); a session
   * takes frames of one of the two kinds. What is encoded is in EncoderDescription.
   */
  readonly colorimetry: Colorimetry;
  readonly pixelAspectRatio: { readonly numerator: number; readonly denominator: number };
}

/** What came of a configuration. */
export interface EncoderDescription {
  readonly encoder: string;
  readonly hardware: boolean;
  /** Size of a decoded and cropped picture. */
  readonly width: number;
  readonly height: number;
  /** As written into the VUI. */
  readonly colorimetry: Colorimetry;
  /** In force, also where the back end chose them. */
  readonly bitrateKbps: number;
  readonly keyframeInterval: number;
}

export interface FrameRequest {
  /** The relay's number for the frame; comes back in every event about it. */
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

/** Every frame given to `encode` gets one `onFrameRead` and then one of `onPacket`, `onDropped`, `onError`. */
export interface EncoderEvents {
  /** The picture's pixels will not be read again for this frame. */
  onFrameRead(frame: number): void;
  onPacket(packet: EncodedPacket): void;
  /** The encoder gave no access unit; flush() and close() also end here. */
  onDropped(frame: number, reason: "flushed" | "encoder"): void;
  /** `frame` is undefined when the session as a whole has failed; it takes no more frames then. */
  onError(frame: number | undefined, error: EncoderError): void;
  /** For the log: which encoder of the system it is, what it refused, what has been mended. */
  onNote?(text: string): void;
}

export interface EncoderSession {
  /** Of the configuration in force: it changes with `reconfigure`. */
  readonly description: EncoderDescription;
  /**
   * Queues one frame. Its pixels stay until `onFrameRead`, also when their owner closes the source meanwhile.
   * A frame of another size than the session's, of RGB where YUV is configured or the reverse, or whose time stamp does not exceed the last one's, is answered
   * by `onError` with FrameRefusedError, after this has returned.
   *
   * @throws EncoderBusyError when MAX_IN_FLIGHT_FRAMES are unanswered (the relay's credits prevent that);
   *   EncoderFailedError when the session has failed or is closed.
   */
  encode(source: FrameSource, request: FrameRequest): void;
  /**
   * Changes bit rate and key-frame interval from the next frame on; false if it needs a new session instead, as a
   * bit rate does that the declared level does not allow.
   *
   * @throws EncoderUnavailableError when the encoder could not do it in a new session either.
   */
  reconfigure(configuration: EncoderConfiguration): boolean;
  /** Settles when every frame queued so far has been answered. The session can go on afterwards. */
  drain(): Promise<void>;
  /** Answers every queued frame with onDropped (those being encoded may still end in onPacket), then settles. */
  flush(): Promise<void>;
  /** Ends the session: queued frames are answered as by flush(), then no event follows. */
  close(): Promise<void>;
}

export interface EncoderBackend {
  readonly name: string;
  /** What can be opened on this machine, best first. Probed once, by opening, within bounded time; never rejects. */
  offers(): Promise<readonly EncoderOffer[]>;
  /** Why `offers` came back empty. */
  readonly unavailable?: string | undefined;
  /** @throws EncoderUnavailableError, EncoderFailedError */
  open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession>;
}

/** Base of the errors that an encoder reports. */
export class EncoderError extends Error {
  override readonly name: string = "EncoderError";
}

/** There is no encoder for this codec, size or setting on this machine. */
export class EncoderUnavailableError extends EncoderError {
  override readonly name = "EncoderUnavailableError";
}

/** The encoder refused or broke; the message carries its own words. */
export class EncoderFailedError extends EncoderError {
  override readonly name = "EncoderFailedError";
}

/** This frame cannot be encoded (its size, format, time stamp, a closed source); the session goes on. */
export class FrameRefusedError extends EncoderError {
  override readonly name = "FrameRefusedError";
}

/** More frames queued than the session takes. */
export class EncoderBusyError extends EncoderError {
  override readonly name = "EncoderBusyError";
}
