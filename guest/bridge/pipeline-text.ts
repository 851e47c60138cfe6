/** The text of the bridge's pipeline, for gst_parse_launch(). */
import type { ElementProperties } from "../element/gen/element.ts";
import { vsockencElement } from "../element/pipeline.ts";
import type { BridgeConfiguration } from "./configuration.ts";
import { Pipeline, PipelineError } from "./gst.ts";

/** Name of the appsink. It is desktop-bridge's, whose pipelines run here unchanged. */
export const SINK = "videosink";

/** No source can capture; the message states reasons and remedies. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
}

/**
 * The pipeline of a configuration. Without a source, opens the screen briefly to check that it can be captured.
 *
 * @throws CaptureError
 */
export async function pipelineText(configuration: BridgeConfiguration): Promise<string> {
  if (configuration.pipeline !== undefined) return configuration.pipeline;
  const source = configuration.source ?? (await chooseCapture(configuration.framerate));
  const encoder = vsockencElement(configuration.encoder as ElementProperties, {
    caps: { codec: configuration.codec, "stream-format": "byte-stream" },
  });
  // No sync: access units are due at once.
  return `${source} ! ${encoder} ! appsink name=${SINK} sync=false`;
}

async function chooseCapture(framerate: number): Promise<string> {
  const screenProblem = await captureProblem("virtgpusrc");
  if (screenProblem === undefined) {
    return `virtgpusrc ! capsfilter caps="video/x-raw(ANY),framerate=${framerate}/1"`;
  }
  const compositorProblem = await captureProblem("pipewiresrc");
  // It offers its own buffers to videoconvert, which passes formats through that the encoder supports.
  if (compositorProblem === undefined) {
    return "pipewiresrc do-timestamp=true keepalive-time=500 ! videoconvert";
  }
  throw new CaptureError(
    `Nothing to capture:\n- the screen, with ${screenProblem}\n- a compositor's stream, with ${compositorProblem}\n` +
      "Fix one of the two (docs/bridge.md), or name elements with --source.",
  );
}

/** Why an element cannot capture, in sentences; undefined if it can. */
async function captureProblem(element: string): Promise<string | undefined> {
  let reported: string | undefined;
  let pipeline: Pipeline | undefined;
  try {
    pipeline = new Pipeline(`${element} ! appsink name=${SINK}`, SINK, (event) => {
      if (event.kind === "error") reported ??= event.text;
    });
    // A live source opens its device in PAUSED, and delivers nothing.
    await pipeline.setState("paused");
    return undefined;
  } catch (error) {
    if (!(error instanceof PipelineError)) throw error;
    return `${element}: ${reported ?? error.message}`.replace(/\.?$/, ".");
  } finally {
    await pipeline?.close();
  }
}
