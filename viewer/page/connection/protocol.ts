/** The protocol's numbers in the page's own words. */
import { vsockenc } from "../../../proto/protobuf.ts";
import type { ServerMessage } from "../../../proto/viewer-messages.ts";
import type { ListedSource } from "../list/list.ts";
import type { SourceState } from "../picture/notice.ts";
import type { FrameTimes } from "../statistics/stages.ts";

const { Codec } = vsockenc;
const { SourceKind, StateCode } = vsockenc.viewer;

type Body<Type extends ServerMessage["type"]> = Extract<ServerMessage, { type: Type }>["body"];

export function protocolCodec(name: "h264" | "h265"): vsockenc.Codec {
  return name === "h264" ? Codec.H264 : Codec.H265;
}

export function listedSource(source: vsockenc.viewer.Source.$Properties): ListedSource {
  const { id, kind, vm, title, input } = source;
  return { id: id ?? "", kind: kindName(kind), vm: vm ?? "", title: title ?? "", input: input === true };
}

function kindName(kind: vsockenc.viewer.SourceKind | null | undefined): ListedSource["kind"] {
  switch (kind) {
    case SourceKind.STREAM:
      return "stream";
    case SourceKind.HEAD:
      return "head";
    case SourceKind.PIPELINE:
      return "pipeline";
    default:
      return "other";
  }
}

/** Undefined for a state that this page does not know. */
export function sourceState({ code, text }: Body<"state">): SourceState | undefined {
  const name = stateName(code);
  return name === undefined ? undefined : { code: name, text };
}

function stateName(code: vsockenc.viewer.StateCode): SourceState["code"] | undefined {
  switch (code) {
    case StateCode.RUNNING:
      return "running";
    case StateCode.IDLE:
      return "idle";
    case StateCode.AWAY:
      return "away";
    case StateCode.FAILED:
      return "failed";
    default:
      return undefined;
  }
}

/** In ms; what the host does not know is absent. */
export function timesOf(stages: vsockenc.viewer.Stages.$Properties | null | undefined): FrameTimes {
  const { captureUs, queueUs, convertUs, encodeUs, deliverUs } = stages ?? {};
  const all = {
    capture: captureUs,
    queue: queueUs,
    convert: convertUs,
    encode: encodeUs,
    deliver: deliverUs,
  };
  return Object.fromEntries(Object.entries(all).flatMap(([name, us]) => (us ? [[name, us / 1000]] : [])));
}
