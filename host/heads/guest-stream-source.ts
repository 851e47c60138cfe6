/**
 * A stream that a guest's vsockenc sends to be encoded, for viewers: the access units that the relay has anyway. Rate and
 * size are the guest's decision; viewers can only ask for key frames.
 */
import type {
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../viewer/server/source.ts";
import type { ObservedPacket, StreamObserver } from "../relay/stream-observer.ts";

const AWAY: SourceState = { code: "away", text: "No program in the guest sends a stream here." };

export interface GuestStreamOptions {
  readonly id: string;
  readonly vm: string;
  readonly title: string;
  /** The session has ended; another may begin. */
  readonly onEnd?: () => void;
}

export class GuestStreamSource implements ViewerSource, StreamObserver {
  readonly kind = "stream";
  readonly id: string;
  readonly vm: string;
  readonly title: string;
  readonly #onSessionEnd: (() => void) | undefined;
  #events: SourceEvents | undefined;
  /** Of the open session. */
  #askForKeyFrame: (() => void) | undefined;
  #last: Pick<ObservedPacket, "encoder" | "tier"> | undefined;
  readonly #dropped = { flushed: 0, encoder: 0 };

  constructor({ id, vm, title, onEnd }: GuestStreamOptions) {
    this.id = id;
    this.vm = vm;
    this.title = title;
    this.#onSessionEnd = onEnd;
  }

  start(events: SourceEvents): void {
    this.#events = events;
    if (this.#askForKeyFrame === undefined) events.onState(AWAY);
    else this.#askForKeyFrame();
  }

  stop(): void {
    this.#events = undefined;
  }

  requestKeyFrame(): void {
    this.#askForKeyFrame?.();
  }

  statistics(): SourceStatistics {
    const { encoder, tier = "" } = this.#last ?? {};
    return {
      encoder: encoder?.encoder ?? "",
      tier,
      bitrateKbps: encoder?.bitrateKbps ?? 0,
      dropped: { ...this.#dropped },
    };
  }

  onOpen(requestKeyFrame: () => void): void {
    this.#askForKeyFrame = requestKeyFrame;
    this.#events?.onState({ code: "running" });
  }

  onPacket({ packet, ptsNs, codec, encoder, tier }: ObservedPacket): void {
    // Without the packet, whose data would be kept as long as the source.
    this.#last = { encoder, tier };
    const { key, data, queueUs, convertUs, encodeUs } = packet;
    this.#events?.onAccessUnit({
      codec,
      ptsUs: Math.round(ptsNs / 1000),
      key,
      // When the guest captured it, only the guest's clock could tell.
      stages: { captureUs: 0, queueUs, convertUs, encodeUs },
      data,
    });
  }

  onDropped(reason: "flushed" | "encoder"): void {
    this.#dropped[reason] += 1;
  }

  onEnd(): void {
    this.#askForKeyFrame = undefined;
    this.#events?.onState(AWAY);
    this.#onSessionEnd?.();
  }
}
