/**
 * Somebody who looks on at a guest's stream, such as a source of the viewer; whatever it does, the guest notices nothing
 * but key frames.
 */
import type { CodecName } from "../../common/codec.ts";
import type { EncodedPacket, EncoderDescription } from "../encoders/encoder.ts";
import type { PictureTier } from "../native/picture.ts";

export interface ObservedPacket {
  /** Its data is shared: nobody writes into it. */
  readonly packet: EncodedPacket;
  readonly ptsNs: number;
  readonly tier: PictureTier;
  readonly codec: CodecName;
  readonly encoder: EncoderDescription;
}

export interface StreamObserver {
  /** @param requestKeyFrame makes the guest's next frame a key frame; does nothing after the end */
  onOpen(requestKeyFrame: () => void): void;
  onPacket(observed: ObservedPacket): void;
  onDropped(reason: "flushed" | "encoder"): void;
  onEnd(): void;
}
