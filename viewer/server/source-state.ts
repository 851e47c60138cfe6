/** The State message of a viewer: a code and a sentence for the user. */
import type { CodecName } from "../../common/codec.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import type { SourceState } from "./source.ts";

const { StateCode } = vsockenc.viewer;

/** The content of a State message. */
export interface WatchState {
  readonly code: vsockenc.viewer.StateCode;
  readonly text: string;
}

/** Everything that a viewer's state depends on. */
export interface WatchFacts {
  readonly source: SourceState;
  /** Why the stream's parameter sets are invalid, if they are. */
  readonly streamError: string | undefined;
  /** Of the last access unit; undefined before the first. */
  readonly codec: CodecName | undefined;
  /** Whether no access unit has arrived for IDLE_MS. */
  readonly silent: boolean;
  readonly decodes: ReadonlySet<CodecName>;
  /** Why this viewer waits for a key frame, if it does. */
  readonly gap: "none" | "start" | "skipped";
}

const CODEC_TITLES: Readonly<Record<CodecName, string>> = { h264: "H.264", h265: "H.265" };

export function watchState(facts: WatchFacts): WatchState {
  const { source, streamError, codec } = facts;
  if (source.code === "away") return { code: StateCode.AWAY, text: source.text };
  if (source.code === "failed") return { code: StateCode.FAILED, text: source.text };
  if (streamError !== undefined) {
    return { code: StateCode.FAILED, text: `Invalid stream: ${streamError}.` };
  }
  if (codec === undefined) {
    return facts.silent
      ? { code: StateCode.AWAY, text: "The source has started, but has not delivered a picture." }
      : { code: StateCode.RUNNING, text: "Waiting for the first picture." };
  }
  if (!facts.decodes.has(codec)) {
    const text = `The stream is ${CODEC_TITLES[codec]}, which this browser cannot decode.`;
    return { code: StateCode.FAILED, text };
  }
  return facts.silent || source.code === "idle" ? idle(facts) : running(facts);
}

function idle({ gap }: WatchFacts): WatchState {
  const text = gap === "none" ? "No changes." : "No changes; a picture follows with the next one.";
  return { code: StateCode.IDLE, text };
}

function running({ gap }: WatchFacts): WatchState {
  const texts = {
    none: "",
    start: "Waiting for a key frame.",
    skipped: "The connection is too slow for this stream; pictures are skipped up to the next key frame.",
  };
  return { code: StateCode.RUNNING, text: texts[gap] };
}

/** Of a source that does not exist. */
export function absentState(id: string): WatchState {
  return {
    code: StateCode.AWAY,
    text: `Source ${id} does not exist: it has ended or has not started. Its picture appears when it starts.`,
  };
}
