/** Says in a plain sentence why there is no picture, or none that moves. */
import type { ConnectionState } from "../connection/connection.ts";

/** How the watched source does, as the server says. */
export interface SourceState {
  readonly code: "running" | "idle" | "away" | "failed";
  /** A plain sentence, or "". */
  readonly text: string;
}

/** All that the sentence depends on. */
export interface Situation {
  readonly connection: ConnectionState;
  /** Whether the browser lacks what decodes: `insecure` where only plain HTTP is to blame. */
  readonly decoder: "ready" | "insecure" | "missing";
  /** Why the decoder gave up. */
  readonly failure: string | undefined;
  /** Undefined until the server has told. */
  readonly sourceCount: number | undefined;
  /** Id of the source that is to be shown; undefined for the list. */
  readonly watched: string | undefined;
  readonly state: SourceState | undefined;
  /** Since this source is watched. */
  readonly painted: boolean;
  /** Seconds without a paint, where the source runs and the page can be seen; undefined otherwise. */
  readonly stalledSeconds: number | undefined;
  readonly arrivedSincePaint: number;
}

export interface Notice {
  readonly mood: "busy" | "quiet" | "trouble";
  readonly title: string;
  readonly text: string;
  /** What a button offers. */
  readonly action?: "reconnect" | "retry";
}

/** Without a paint for that long while the source runs, something is wrong. */
export const STALL_SECONDS = 5;

export function noticeFor(situation: Situation): Notice | undefined {
  return connectionNotice(situation) ?? decoderNotice(situation) ?? sourceNotice(situation);
}

function connectionNotice({ connection }: Situation): Notice | undefined {
  switch (connection.code) {
    case "open":
      return undefined;
    case "connecting":
      return {
        mood: "busy",
        title: "Connecting…",
        text: "The page is opening its connection to the server.",
      };
    case "waiting":
      return {
        mood: "trouble",
        title: connection.before ? "The connection was lost" : "The server cannot be reached",
        text: `${asSentence(connection.reason)}The page keeps trying.`,
        action: "reconnect",
      };
    case "refused":
      return {
        mood: "trouble",
        title: "The server refuses this page",
        text: asSentence(connection.reason).trim(),
        action: "reconnect",
      };
  }
}

function decoderNotice({ decoder, failure }: Situation): Notice | undefined {
  if (decoder === "insecure") {
    return {
      mood: "trouble",
      title: "This page needs HTTPS here",
      text: "It came over plain HTTP, where browsers do not offer WebCodecs, and this one has no Media Source Extensions with H.264 either. Serve the page over HTTPS, or open it on the server's own machine as localhost.",
    };
  }
  if (decoder === "missing") {
    return {
      mood: "trouble",
      title: "This browser cannot show the stream",
      text: "It has neither WebCodecs nor Media Source Extensions with H.264. A current Chromium, Edge, Firefox or Safari has.",
    };
  }
  if (failure === undefined) return undefined;
  return { mood: "trouble", title: "The decoder gave up", text: failure, action: "retry" };
}

function sourceNotice(situation: Situation): Notice | undefined {
  const { sourceCount, watched, state } = situation;
  if (sourceCount === undefined) {
    return { mood: "busy", title: "Connecting…", text: "The server has not yet told what there is to see." };
  }
  if (sourceCount === 0 && watched === undefined) {
    return {
      mood: "quiet",
      title: "Nothing to see yet",
      text: "No VM offers a picture. A stream appears here as soon as a guest encodes, a screen as soon as a VM runs.",
    };
  }
  // The list itself is what there is to see.
  if (watched === undefined) return undefined;
  if (state?.code === "away") {
    return { mood: "trouble", title: "Nothing encodes at the moment", text: asSentence(state.text).trim() };
  }
  if (state?.code === "failed") {
    return { mood: "trouble", title: "It cannot be shown", text: asSentence(state.text).trim() };
  }
  return stallNotice(situation) ?? firstPictureNotice(situation);
}

function stallNotice({ stalledSeconds = 0, arrivedSincePaint, painted }: Situation): Notice | undefined {
  const nothingCame = arrivedSincePaint === 0;
  // The server itself says when nothing moves; it is to be the first.
  if (stalledSeconds < (nothingCame ? STALL_SECONDS + 1 : STALL_SECONDS)) return undefined;
  const seconds = Math.floor(stalledSeconds);
  const text = nothingCame
    ? `The source says that it runs, but nothing has arrived for ${seconds} seconds.`
    : `${arrivedSincePaint} pictures have arrived in the last ${seconds} seconds, but none could be shown.`;
  const title = painted ? "The picture stands still" : "No picture comes";
  return { mood: "trouble", title, text, action: "retry" };
}

function firstPictureNotice({ state, painted }: Situation): Notice | undefined {
  if (painted) return undefined;
  const text = asSentence(state?.text ?? "").trim();
  if (state?.code === "idle") {
    return {
      mood: "quiet",
      title: "Nothing moves",
      text: text || "The next change on this screen shows it.",
    };
  }
  return {
    mood: "busy",
    title: "Starting…",
    text: text || "Waiting for the first picture.",
  };
}

/** Hint beside a picture that is still true, or undefined. */
export function hintFor({ connection, state, painted }: Situation): string | undefined {
  if (connection.code !== "open" || state?.code !== "idle" || !painted) return undefined;
  return "Nothing moves, so no pictures come. This one is still true.";
}

/** A text from elsewhere as a sentence, with a space behind it; "" stays "". */
function asSentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(first) ? `${first} ` : `${first}. `;
}
