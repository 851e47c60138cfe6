/** An observer of a guest's stream, such as a source of the viewer. The guest notices it only by requests for key frames. */
import type { CodecName } from "../../common/codec.ts";
import type { EncodedPacket, EncoderDescription } from "../encoders/encoder.ts";
import type { PictureTier } from "../native/picture.ts";

export interface ObservedPacket {
  /** Shared with the guest's answer: read-only. */
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
