/** Decodes and paints in a worker, so that nothing the page does can delay a picture. */

import type { FromWorker, ToWorker } from "../worker/messages.ts";
import type { Player, PlayerEvents } from "./player.ts";
import type { Configuration, Point, Unit } from "./unit.ts";

/** Whether this browser, here, decodes in a worker. WebCodecs is for secure contexts alone. */
export function hasWebCodecs(): boolean {
  return "VideoDecoder" in window && "OffscreenCanvas" in window;
}

export class WebCodecsPlayer implements Player {
  readonly element: HTMLCanvasElement;
  readonly codecs: readonly ("h264" | "h265")[];
  readonly #worker: Worker;

  private constructor(events: PlayerEvents, codecs: readonly ("h264" | "h265")[]) {
    this.codecs = codecs;
    this.element = document.createElement("canvas");
    this.#worker = new Worker(new URL("../worker/main.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => dispatch(data, events);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      events.onFailure(`The page's decoder could not be started (${event.message || "no reason given"}).`);
    };
    const canvas = this.element.transferControlToOffscreen();
    this.#send({ type: "canvas", canvas }, [canvas]);
  }

  static async create(events: PlayerEvents): Promise<WebCodecsPlayer> {
    // Main profile, level 3.1: the least that a decoder of H.265 has. H.264 every WebCodecs has.
    const { supported } = await VideoDecoder.isConfigSupported({ codec: "hev1.1.6.L93.B0" });
    return new WebCodecsPlayer(events, supported === true ? ["h264", "h265"] : ["h264"]);
  }

  configure(configuration: Configuration): void {
    this.#send({ type: "configure", configuration });
  }

  decode(unit: Unit): void {
    this.#send({ type: "unit", unit }, [unit.data.buffer]);
  }

  reset(): void {
    this.#send({ type: "reset" });
  }

  probe(points: readonly Point[]): void {
    this.#send({ type: "probe", points });
  }

  #send(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}

function dispatch(message: FromWorker, events: PlayerEvents): void {
  switch (message.type) {
    case "decoded":
      events.onDecoded(message.queueLength);
      break;
    case "painted":
      events.onPaint(message.paint);
      break;
    case "dropped":
      events.onDrop(message.reason, message.count);
      break;
    case "keyFrameNeeded":
      events.onKeyFrameNeeded();
      break;
    case "failed":
      events.onFailure(message.text);
      break;
    case "decoder":
      events.onDecoder(message.name);
      break;
  }
}
