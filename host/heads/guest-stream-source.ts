/**
 * A guest's stream as a source for viewers: the access units that the relay encodes for the guest. The guest decides rate
 * and size; viewers can only request key frames.
 */
import type {
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../viewer/server/source.ts";
import type { ObservedPacket, StreamObserver } from "../relay/relay-viewer.ts";

/** For viewers of a stream that there is not. */
export const NO_STREAM = "No program in the guest sends a stream here.";
const AWAY: SourceState = { code: "away", text: NO_STREAM };

export class GuestStreamSource implements ViewerSource, StreamObserver {
  readonly kind = "stream";
  readonly id: string;
  readonly vm: string;
  readonly title: string;
  readonly #onSessionEnd: (() => void) | undefined;
  #events: SourceEvents | undefined;
  /** Of the open session. */
  #requestKeyFrame: (() => void) | undefined;
  #last: Pick<ObservedPacket, "encoder" | "tier"> | undefined;
  readonly #dropped = { flushed: 0, encoder: 0 };

  /** @param onSessionEnd a session has ended; another may follow */
  constructor(id: string, vm: string, title: string, onSessionEnd?: () => void) {
    this.id = id;
    this.vm = vm;
    this.title = title;
    this.#onSessionEnd = onSessionEnd;
  }

  start(events: SourceEvents): void {
    this.#events = events;
    if (this.#requestKeyFrame === undefined) events.onState(AWAY);
    else this.#requestKeyFrame();
  }

  stop(): void {
    this.#events = undefined;
  }

  requestKeyFrame(): void {
    this.#requestKeyFrame?.();
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
    this.#requestKeyFrame = requestKeyFrame;
    this.#events?.onState({ code: "running" });
  }

  onPacket({ packet, ptsNs, codec, encoder, tier, readUs }: ObservedPacket): void {
    // Without the packet, so that its data can be freed.
    this.#last = { encoder, tier };
    const { key, data, queueUs, convertUs, encodeUs } = packet;
    this.#events?.onAccessUnit({
      codec,
      ptsUs: Math.round(ptsNs / 1000),
      key,
      // The guest captures by its own clock; known here is how long rendered pixels took to be read.
      stages: { captureUs: readUs, queueUs, convertUs, encodeUs },
      data,
    });
  }

  onDropped(reason: "flushed" | "encoder"): void {
    this.#dropped[reason] += 1;
  }

  onEnd(): void {
    this.#requestKeyFrame = undefined;
    this.#events?.onState(AWAY);
    this.#onSessionEnd?.();
  }
}
