/** The State message of a viewer: a code and a sentence for the user. */
import type { CodecName } from "../../common/codec.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import type { SourceState } from "./source.ts";
import type { UnitGap } from "./stream/unit-queue.ts";

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
  readonly gap: UnitGap;
}

const CODEC_TITLES: Readonly<Record<CodecName, string>> = { h264: "H.264", h265: "H.265" };
const WITH_NEXT = "No changes; a picture follows with the next one.";
const IDLE_TEXTS = { none: "No changes.", start: WITH_NEXT, skipped: WITH_NEXT };
const RUNNING_TEXTS = {
  none: "",
  start: "Waiting for a key frame.",
  skipped: "The connection is too slow for this stream; pictures are skipped up to the next key frame.",
};

export function watchState({ source, streamError, codec, silent, decodes, gap }: WatchFacts): WatchState {
  if (source.code === "away") return { code: StateCode.AWAY, text: source.text };
  if (source.code === "failed") return { code: StateCode.FAILED, text: source.text };
  if (streamError !== undefined) {
    return { code: StateCode.FAILED, text: `Invalid stream: ${streamError}.` };
  }
  if (codec === undefined) {
    return silent
      ? { code: StateCode.AWAY, text: "The source has started, but has not delivered a picture." }
      : { code: StateCode.RUNNING, text: "Waiting for the first picture." };
  }
  if (!decodes.has(codec)) {
    const text = `The stream is ${CODEC_TITLES[codec]}, which this browser cannot decode.`;
    return { code: StateCode.FAILED, text };
  }
  return silent || source.code === "idle"
    ? { code: StateCode.IDLE, text: IDLE_TEXTS[gap] }
    : { code: StateCode.RUNNING, text: RUNNING_TEXTS[gap] };
}

/** Of a source that does not exist. */
export function absentState(id: string): WatchState {
  return {
    code: StateCode.AWAY,
    text: `Source ${id} does not exist: it has ended or has not started. Its picture appears when it starts.`,
  };
}
