/** Why there is a picture or none, in sentences for people. */
import type { CodecName } from "../../common/codec.ts";
import { vsockenc } from "../../proto/protobuf.ts";
import type { SourceState } from "./source.ts";

const { StateCode } = vsockenc.viewer;

/** As State tells it. */
export interface WatchState {
  readonly code: vsockenc.viewer.StateCode;
  readonly text: string;
}

/** What a viewer's state follows from. */
export interface WatchFacts {
  readonly source: SourceState;
  /** Why the stream cannot be described to a decoder, where that is so. */
  readonly undescribed: string | undefined;
  /** Of the last access unit; undefined before the first. */
  readonly codec: CodecName | undefined;
  /** No access unit has come for IDLE_MS. */
  readonly silent: boolean;
  readonly decodes: ReadonlySet<CodecName>;
  /** Why this viewer gets nothing until the next key frame. */
  readonly gap: "none" | "start" | "skipped";
}

const CODEC_TITLES: Readonly<Record<CodecName, string>> = { h264: "H.264", h265: "H.265" };

export function watchState(facts: WatchFacts): WatchState {
  const { source, undescribed, codec } = facts;
  if (source.code === "away") return { code: StateCode.AWAY, text: source.text };
  if (source.code === "failed") return { code: StateCode.FAILED, text: source.text };
  if (undescribed !== undefined) {
    return { code: StateCode.FAILED, text: `The stream cannot be shown: ${undescribed}.` };
  }
  if (codec === undefined) {
    return facts.silent
      ? { code: StateCode.AWAY, text: "The source was started, but no picture has come from it." }
      : { code: StateCode.RUNNING, text: "Waiting for the first picture." };
  }
  if (!facts.decodes.has(codec)) {
    const text = `The stream is ${CODEC_TITLES[codec]}, which this browser does not decode.`;
    return { code: StateCode.FAILED, text };
  }
  return facts.silent || source.code === "idle" ? idle(facts) : running(facts);
}

function idle({ gap }: WatchFacts): WatchState {
  const text = gap === "none" ? "Nothing moves." : "Nothing moves; a picture comes with the next change.";
  return { code: StateCode.IDLE, text };
}

function running({ gap }: WatchFacts): WatchState {
  const texts = {
    none: "",
    start: "Waiting for a key frame.",
    skipped: "The connection is too slow for this stream: pictures are skipped up to the next key frame.",
  };
  return { code: StateCode.RUNNING, text: texts[gap] };
}

/** Of a source that is not there. */
export function absentState(id: string): WatchState {
  return {
    code: StateCode.AWAY,
    text: `There is no source ${id}: it has ended, or has not begun. The picture comes when it is there.`,
  };
}
