/**
 * The worker's end of the viewer: what it has for viewers is offered to the relay, which starts and stops it.
 *
 * A relay that takes nothing for a while costs pictures, not memory: access units are left out, and the next one that is
 * sent is a key frame.
 */
import type { SourceEvents, ViewerSource } from "../../viewer/server/source.ts";
import type { SourceOptions } from "../../viewer/server/viewer-server.ts";
import type { Channel } from "../native/channel.ts";
import type { SourceOffers } from "../relay/relay-viewer.ts";
import type { FromWorker, ToWorker } from "./messages.ts";

/** About a second of the highest bit rate. */
const MAX_WAITING_BYTES = 8 << 20;

export class SourceServer implements SourceOffers {
  readonly #channel: Pick<Channel<ToWorker, FromWorker>, "send" | "queuedBytes">;
  readonly #sources = new Map<string, ViewerSource>();
  readonly #watched = new Set<string>();

  constructor(channel: Pick<Channel<ToWorker, FromWorker>, "send" | "queuedBytes">) {
    this.#channel = channel;
  }

  add(source: ViewerSource, { bitrate }: SourceOptions = {}): void {
    const { id, kind, title } = source;
    if (kind === "pipeline") return;
    this.#sources.set(id, source);
    this.#channel.send({ type: "offer", source: id, kind, title, bitrate });
  }

  remove(id: string): void {
    this.watch(id, false);
    this.#sources.delete(id);
    this.#channel.send({ type: "withdraw", source: id });
  }

  get(id: string): ViewerSource | undefined {
    return this.#sources.get(id);
  }

  /** Starts or stops a source. */
  watch(id: string, on: boolean): void {
    const source = this.#sources.get(id);
    if (source === undefined || this.#watched.has(id) === on) return;
    if (on) {
      this.#watched.add(id);
      source.start(this.#eventsOf(source));
    } else {
      this.#watched.delete(id);
      source.stop();
    }
  }

  #eventsOf(source: ViewerSource): SourceEvents {
    const channel = this.#channel;
    const { id } = source;
    let skipping = false;
    return {
      onAccessUnit: ({ codec, ptsUs, key, stages, data }) => {
        if (channel.queuedBytes > MAX_WAITING_BYTES) {
          skipping = true;
          return;
        }
        if (skipping && !key) {
          source.requestKeyFrame();
          return;
        }
        skipping = false;
        const statistics = source.statistics();
        channel.send({ type: "unit", source: id, codec, ptsUs, key, stages, statistics }, data);
      },
      onState: (state) => channel.send({ type: "state", source: id, state }),
      onCursor: ({ x, y, image }) => {
        const size = image === undefined ? undefined : { width: image.width, height: image.height };
        channel.send({ type: "cursor", source: id, x, y, image: size }, image?.pixels);
      },
    };
  }
}
