/** The native encoder session of media.node (host/native/media/binding/session_binding.cc), as TypeScript sees it. */

import type { CodecName, ProfileName } from "../../common/codec.ts";
import { errorText } from "../../common/error-text.ts";
import { loadAddon } from "../../common/load-addon.ts";
import type { NativePicture } from "../native/picture.ts";
import { type Colorimetry, EncoderFailedError } from "./encoder.ts";
import type { Rates } from "./plan.ts";

interface Fraction {
  readonly numerator: number;
  readonly denominator: number;
}

/** All numbers are checked by the caller and below 2^31, a peak bit rate below 2^53. */
export type NativeSettings = LibavcodecSettings | VideoToolboxSettings;

interface CommonSettings {
  /** Visible size in pixels. */
  readonly width: number;
  readonly height: number;
  /** Frames a second that rate control counts with. */
  readonly framerate: Fraction;
  /** Whether the VUI states it. */
  readonly fixedRate: boolean;
  readonly pixelAspectRatio: Fraction;
  readonly colorimetry: Colorimetry;
  /** Whether frames are RGB; decides where chroma samples are sited. */
  readonly rgb: boolean;
  readonly rates: Rates;
  readonly keyframeInterval: number;
}

export interface LibavcodecSettings extends CommonSettings {
  readonly backend: "libavcodec";
  /** libavcodec's name of the encoder. */
  readonly name: string;
  /** What the encoder takes; "vaapi" is NV12 that is uploaded to a surface. */
  readonly input: "i420" | "nv12" | "vaapi";
  /** It takes another bit rate in mid-stream; else it is opened anew for that. */
  readonly liveRate: boolean;
  readonly threads: number;
  /** Private options of the codec. */
  readonly options: Readonly<Record<string, string>>;
}

export interface VideoToolboxSettings extends CommonSettings {
  readonly backend: "videotoolbox";
  readonly codec: CodecName;
  readonly profile: ProfileName;
}

/** As offers and descriptions name it. */
export function encoderName(settings: NativeSettings): string {
  return settings.backend === "videotoolbox" ? settings.backend : settings.name;
}

/**
 * What the session's thread reports, in order. The first is opened or open-failed, the last is closed; each frame
 * has one read and then one of packet, dropped, frame-failed. Notes may come at any time before closed.
 */
export type NativeEvent =
  | { readonly kind: "opened" }
  | { readonly kind: "open-failed"; readonly message: string }
  | { readonly kind: "read"; readonly frame: number }
  | {
      readonly kind: "packet";
      readonly frame: number;
      readonly key: boolean;
      readonly data: Uint8Array;
      readonly queueUs: number;
      readonly convertUs: number;
      readonly encodeUs: number;
    }
  | { readonly kind: "dropped"; readonly frame: number; readonly reason: "flushed" | "encoder" }
  | { readonly kind: "frame-failed"; readonly frame: number; readonly message: string }
  | { readonly kind: "note"; readonly message: string }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "passed"; readonly token: number }
  | { readonly kind: "closed" };

/** None of the methods blocks; all but join() only queue. */
export interface NativeSession {
  /** @throws TypeError when the picture is closed. */
  encode(picture: NativePicture, frame: number, forceKeyFrame: boolean): void;
  reconfigure(rates: Rates, keyframeInterval: number): void;
  /** A "passed" event follows when everything queued so far has been answered. */
  mark(token: number): void;
  /** The frames that wait are answered as dropped. */
  flush(): void;
  /** Frames that wait are dropped, then a "closed" event follows. */
  close(): void;
  /** After "closed", once: settles when the thread has ended. */
  join(): Promise<void>;
}

interface SessionAddon {
  readonly NativeSession: new (
    settings: NativeSettings,
    onEvent: (event: NativeEvent) => void,
  ) => NativeSession;
  /** Where it was built with VideoToolbox (videotoolbox/videotoolbox_binding.cc); cli/doctor/macos.ts lists them. */
  readonly videoToolboxEncoders?: () => unknown;
}

let addon: SessionAddon | undefined;
const native = (): SessionAddon => {
  addon ??= loadAddon("media") as SessionAddon;
  return addon;
};

/** Whether media.node was built with VideoToolbox. */
export function hasVideoToolbox(): boolean {
  return native().videoToolboxEncoders !== undefined;
}

/**
 * Starts the session's thread, which opens the encoder.
 *
 * What `onEvent` throws becomes an uncaught exception, as from any other callback of Node. Left to a
 * thread-safe function, Node 20 only prints a warning (DEP0168).
 *
 * @throws EncoderFailedError when the system has no thread for it.
 */
export function startSession(settings: NativeSettings, onEvent: (event: NativeEvent) => void): NativeSession {
  const surfacing = (event: NativeEvent): void => {
    try {
      onEvent(event);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
  try {
    return new (native().NativeSession)(settings, surfacing);
  } catch (error) {
    throw new EncoderFailedError(`${encoderName(settings)}: ${errorText(error)}`);
  }
}
