/** Converts the protocol's enumerations and times to the page's. */
import { vsockenc } from "../../../proto/protobuf.ts";
import type { ServerMessage } from "../../../proto/viewer-messages.ts";
import type { ListedSource } from "../list/list.ts";
import type { SourceState } from "../picture/notice.ts";
import type { FrameTimes } from "../statistics/stages.ts";

const { Codec } = vsockenc;
const { SourceKind, StateCode } = vsockenc.viewer;

export type Body<Type extends ServerMessage["type"]> = Extract<ServerMessage, { type: Type }>["body"];

export const PROTOCOL_CODECS = { h264: Codec.H264, h265: Codec.H265 } as const;

const KINDS: Readonly<Record<number, ListedSource["kind"]>> = {
  [SourceKind.STREAM]: "stream",
  [SourceKind.HEAD]: "head",
  [SourceKind.PIPELINE]: "pipeline",
};
const STATES: Readonly<Record<number, SourceState["code"]>> = {
  [StateCode.RUNNING]: "running",
  [StateCode.IDLE]: "idle",
  [StateCode.AWAY]: "away",
  [StateCode.FAILED]: "failed",
};

export function listedSource(source: vsockenc.viewer.Source.$Properties): ListedSource {
  const { kind, input } = source;
  const [id, vm, title] = [source.id ?? "", source.vm ?? "", source.title ?? ""];
  return { id, kind: KINDS[kind ?? 0] ?? "other", vm, title, input: input === true };
}

/** Undefined for a state that this page does not know. */
export function sourceState({ code, text }: Body<"state">): SourceState | undefined {
  const name = STATES[code];
  return name === undefined ? undefined : { code: name, text };
}

/** In ms, without the stages that the host did not measure. */
export function timesOf(stages: vsockenc.viewer.Stages.$Properties | null | undefined): FrameTimes {
  const names = ["capture", "queue", "convert", "encode", "deliver"] as const;
  const known = names.map((name) => [name, (stages?.[`${name}Us`] ?? 0) / 1000] as const);
  return Object.fromEntries(known.filter(([, ms]) => ms > 0));
}
