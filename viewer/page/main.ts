/** Starts the page: chooses a decoder that this browser has, and connects. */
import { hasMse, MsePlayer } from "./player/mse/player.ts";
import type { PlayerEvents } from "./player/unit.ts";
import { hasWebCodecs, type Player, WebCodecsPlayer } from "./player/webcodecs.ts";
import { Viewer } from "./viewer.ts";

async function choosePlayer(events: PlayerEvents): Promise<Player | "insecure" | "missing"> {
  if (hasWebCodecs()) return WebCodecsPlayer.create(events);
  if (hasMse()) return new MsePlayer(events);
  return window.isSecureContext ? "missing" : "insecure";
}

/** `watch` beside the page, with the token of the page's own address. */
function serverUrl(): URL {
  const url = new URL("watch", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  const token = new URLSearchParams(location.search).get("token");
  url.search = token === null ? "" : new URLSearchParams({ token }).toString();
  return url;
}

const viewer = new Viewer(serverUrl());
viewer.start(await choosePlayer(viewer));
