/** Decodes and paints in a worker, so that work on the page never delays a picture. */
import { type FromWorker, receive, type ToWorker } from "../worker/messages.ts";
import type { PlayerCommands, PlayerEvents } from "./unit.ts";

/**
 * Shows a stream: with WebCodecs where the browser has it, else with Media Source Extensions
 * (mse/player.ts). A player reports the outcome of every access unit.
 */
export interface Player extends PlayerCommands {
  /** Shows the picture, and receives pointer and keyboard events. */
  readonly element: HTMLCanvasElement | HTMLVideoElement;
  /** The codecs that it decodes, for ViewerHello. */
  readonly codecs: readonly ("h264" | "h265")[];
}

/** Whether this browser can decode in a worker here. WebCodecs requires a secure context. */
export function hasWebCodecs(): boolean {
  return "VideoDecoder" in window && "OffscreenCanvas" in window;
}

export class WebCodecsPlayer implements Player {
  readonly element = document.createElement("canvas");
  readonly codecs: Player["codecs"];
  readonly #worker = new Worker(new URL("../worker/main.ts", import.meta.url), { type: "module" });

  private constructor(events: PlayerEvents, codecs: Player["codecs"]) {
    this.codecs = codecs;
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => receive(events, data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      events.onFailure(`The page's decoder could not be started (${event.message || "no reason given"}).`);
    };
    const canvas = this.element.transferControlToOffscreen();
    this.#send({ name: "use", args: [canvas] }, [canvas]);
  }

  static async create(events: PlayerEvents): Promise<WebCodecsPlayer> {
    // Main profile, level 3.1: the minimum for an H.265 decoder. Every WebCodecs decodes H.264.
    const { supported } = await VideoDecoder.isConfigSupported({ codec: "hev1.1.6.L93.B0" });
    return new WebCodecsPlayer(events, supported === true ? ["h264", "h265"] : ["h264"]);
  }

  readonly configure: Player["configure"] = (...args) => this.#send({ name: "configure", args });
  readonly decode: Player["decode"] = (unit) =>
    this.#send({ name: "decode", args: [unit] }, [unit.data.buffer]);
  readonly reset: Player["reset"] = () => this.#send({ name: "reset", args: [] });
  readonly probe: Player["probe"] = (...args) => this.#send({ name: "probe", args });

  #send(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}
