/** A source of the viewer whose pictures come from a worker; it stays in the list while there is none. */
import type {
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../viewer/server/source.ts";
import type { FromWorker, ToWorker } from "./messages.ts";

/** Messages about a source. */
export type SourceMessage = Extract<FromWorker, { type: "unit" | "state" | "cursor" }>;

const NO_STATISTICS: SourceStatistics = { encoder: "", tier: "", bitrateKbps: 0, dropped: {} };

interface SourceDescription {
  readonly id: string;
  readonly kind: "stream" | "head";
  readonly vm: string;
  readonly title: string;
}

export class RemoteSource implements ViewerSource {
  readonly id: string;
  readonly kind: "stream" | "head";
  readonly vm: string;
  readonly title: string;
  readonly setBitrate?: (kbps: number) => void;
  readonly #away: SourceState;
  #send: ((message: ToWorker) => void) | undefined;
  #events: SourceEvents | undefined;
  #statistics = NO_STATISTICS;
  /** As the worker, or its absence, has it. */
  #state: SourceState;
  #fault: string | undefined;

  /**
   * @param away the sentence for viewers while no worker has it
   * @param adaptive whether its bit rate follows the viewers' connections
   */
  constructor({ id, kind, vm, title }: SourceDescription, away: string, adaptive: boolean) {
    this.id = id;
    this.kind = kind;
    this.vm = vm;
    this.title = title;
    this.#away = { code: "away", text: away };
    this.#state = this.#away;
    if (adaptive) this.setBitrate = (kbps) => this.#send?.({ type: "bitrate", source: id, kbps });
  }

  start(events: SourceEvents): void {
    this.#events = events;
    if (this.#send === undefined || this.#fault !== undefined) this.#showState();
    if (this.#send !== undefined) this.#send({ type: "watch", source: this.id, on: true });
  }

  stop(): void {
    this.#events = undefined;
    this.#send?.({ type: "watch", source: this.id, on: false });
  }

  requestKeyFrame(): void {
    this.#send?.({ type: "key-frame", source: this.id });
  }

  statistics(): SourceStatistics {
    return this.#statistics;
  }

  /** A worker has it from now on; undefined: none does. */
  attach(send: ((message: ToWorker) => void) | undefined): void {
    this.#send = send;
    if (send === undefined) this.#setState(this.#away);
    else if (this.#events !== undefined) send({ type: "watch", source: this.id, on: true });
  }

  /** What is wrong with the VM, in the place of the source's own state. */
  showFault(fault: string | undefined): void {
    if (fault === this.#fault) return;
    this.#fault = fault;
    this.#showState();
  }

  #setState(state: SourceState): void {
    this.#state = state;
    if (this.#fault === undefined) this.#showState();
  }

  #showState(): void {
    this.#events?.onState(this.#fault === undefined ? this.#state : { code: "away", text: this.#fault });
  }

  /** @param bytes the access unit, or the pixels of the pointer's image */
  receive(message: SourceMessage, bytes: Buffer): void {
    switch (message.type) {
      case "unit": {
        const { codec, ptsUs, key, stages, statistics } = message;
        this.#statistics = statistics;
        this.#events?.onAccessUnit({ codec, ptsUs, key, stages, data: bytes });
        break;
      }
      case "state":
        this.#setState(message.state);
        break;
      case "cursor": {
        const { x, y, image } = message;
        const fits = image !== undefined && bytes.length === 4 * image.width * image.height;
        this.#events?.onCursor?.({ x, y, image: fits ? { ...image, pixels: bytes } : undefined });
        break;
      }
    }
  }
}
