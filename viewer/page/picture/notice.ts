/** Explains why there is no picture, or why it does not move. */
import type { ConnectionState } from "../connection/connection.ts";

/** The state of the watched source, from the server. */
export interface SourceState {
  readonly code: "running" | "idle" | "away" | "failed";
  /** A sentence, or "". */
  readonly text: string;
}

/** Everything that a notice depends on. */
export interface Situation {
  readonly connection: ConnectionState;
  /** Whether the browser can decode: `insecure` where it could over HTTPS. */
  readonly decoder: "ready" | "insecure" | "missing";
  /** Why the decoder gave up. */
  readonly failure: string | undefined;
  /** Undefined until the server has sent its list. */
  readonly sourceCount: number | undefined;
  /** Id of the watched source; undefined for the list. */
  readonly watched: string | undefined;
  readonly state: SourceState | undefined;
  /** Whether a picture was painted since this source is watched. */
  readonly painted: boolean;
  /** Seconds without a paint while the source runs and the page is visible; undefined otherwise. */
  readonly stalledSeconds: number | undefined;
  readonly arrivedSincePaint: number;
}

export interface Notice {
  readonly mood: "busy" | "quiet" | "trouble";
  readonly title: string;
  readonly text: string;
  /** The button below the text. */
  readonly action?: "reconnect" | "retry";
}

/** A running source without a paint for this long is reported. */
const STALL_SECONDS = 5;

export function noticeFor(situation: Situation): Notice | undefined {
  return connectionNotice(situation) ?? decoderNotice(situation) ?? sourceNotice(situation);
}

const busy = (title: string, text: string): Notice => ({ mood: "busy", title, text });
const quiet = (title: string, text: string): Notice => ({ mood: "quiet", title, text });
const trouble = (title: string, text: string, action?: Notice["action"]): Notice =>
  action === undefined ? { mood: "trouble", title, text } : { mood: "trouble", title, text, action };

function connectionNotice({ connection }: Situation): Notice | undefined {
  switch (connection.code) {
    case "open":
      return undefined;
    case "connecting":
      return busy("Connecting…", "Opening the connection to the server.");
    case "waiting": {
      const title = connection.before ? "Connection lost" : "Server unreachable";
      return trouble(title, `${asSentence(connection.reason)} Retrying automatically.`.trim(), "reconnect");
    }
    case "refused":
      return trouble("Connection rejected", asSentence(connection.reason), "reconnect");
  }
}

function decoderNotice({ decoder, failure }: Situation): Notice | undefined {
  if (decoder === "insecure") {
    return trouble(
      "HTTPS required",
      "Over plain HTTP this browser offers neither WebCodecs nor Media Source Extensions with H.264. Serve the page over HTTPS, or open it as localhost on the server's own machine.",
    );
  }
  if (decoder === "missing") {
    return trouble(
      "Browser not supported",
      "This browser has neither WebCodecs nor Media Source Extensions with H.264. Use a current Chromium, Edge, Firefox or Safari.",
    );
  }
  return failure === undefined ? undefined : trouble("Decoding failed", failure, "retry");
}

function sourceNotice(situation: Situation): Notice | undefined {
  const { sourceCount, watched, state } = situation;
  if (sourceCount === undefined) return busy("Connecting…", "Waiting for the list of sources.");
  if (watched === undefined) {
    if (sourceCount > 0) return undefined;
    return quiet(
      "No sources yet",
      "A stream appears here when a guest starts to encode, a screen when a VM starts.",
    );
  }
  if (state?.code === "away") return trouble("Source unavailable", asSentence(state.text));
  if (state?.code === "failed") return trouble("This source cannot be shown", asSentence(state.text));
  return stallNotice(situation) ?? firstPictureNotice(situation);
}

function stallNotice({ stalledSeconds = 0, arrivedSincePaint, painted }: Situation): Notice | undefined {
  const nothingArrived = arrivedSincePaint === 0;
  // One second more gives the server time to report the source as idle.
  if (stalledSeconds < (nothingArrived ? STALL_SECONDS + 1 : STALL_SECONDS)) return undefined;
  const seconds = Math.floor(stalledSeconds);
  const text = nothingArrived
    ? `The source is running, but nothing has arrived for ${seconds} seconds.`
    : `${arrivedSincePaint} pictures have arrived in the last ${seconds} seconds, but none could be shown.`;
  return trouble(painted ? "Picture frozen" : "No picture", text, "retry");
}

function firstPictureNotice({ state, painted }: Situation): Notice | undefined {
  if (painted) return undefined;
  const text = asSentence(state?.text ?? "");
  if (state?.code === "idle") return quiet("No changes", text || "A picture follows with the next change.");
  return busy("Starting…", text || "Waiting for the first picture.");
}

/** A hint beside a picture that does not move but is current. */
export function hintFor({ connection, state, painted }: Situation): string | undefined {
  if (connection.code !== "open" || state?.code !== "idle" || !painted) return undefined;
  return "The screen is not changing; this picture is current.";
}

/** A text with a capital letter and a full stop; "" stays "". */
function asSentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}
