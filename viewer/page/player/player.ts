/**
 * Shows a stream: with WebCodecs (webcodecs.ts) where the browser has it, else with Media Source Extensions
 * (mse/player.ts). A player reports the outcome of every access unit.
 */
import type { PlayerCommands } from "./unit.ts";

export interface Player extends PlayerCommands {
  /** Shows the picture, and receives pointer and keyboard events. */
  readonly element: HTMLCanvasElement | HTMLVideoElement;
  /** The codecs that it decodes, for ViewerHello. */
  readonly codecs: readonly ("h264" | "h265")[];
}
