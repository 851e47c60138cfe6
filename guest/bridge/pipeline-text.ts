/** The pipeline that the bridge runs, as text for gst_parse_launch(). */
import type { ElementProperties } from "../element/gen/element.ts";
import { vsockencElement } from "../element/pipeline.ts";
import type { BridgeConfiguration } from "./configuration.ts";
import { Pipeline, PipelineError } from "./gst.ts";

/** The appsink that the bridge reads. desktop-bridge calls it so, too, and its pipelines run here unchanged. */
export const SINK = "videosink";

/** There is nothing to capture from; the message says why and what to do. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
}

/**
 * The pipeline of a configuration. Where it names no source this opens the screen for a moment, to see whether it may.
 *
 * @throws CaptureError
 */
export async function pipelineText(configuration: BridgeConfiguration): Promise<string> {
  if (configuration.pipeline !== undefined) return configuration.pipeline;
  const source = configuration.source ?? (await chooseCapture(configuration.framerate));
  const encoder = vsockencElement(configuration.encoder as ElementProperties, {
    caps: { codec: configuration.codec, "stream-format": "byte-stream" },
  });
  // Without sync: an access unit is due when it is there.
  return `${source} ! ${encoder} ! appsink name=${SINK} sync=false`;
}

async function chooseCapture(framerate: number): Promise<string> {
  const noScreen = await whyNot("virtgpusrc");
  if (noScreen === undefined) {
    return `virtgpusrc ! capsfilter caps="video/x-raw(ANY),framerate=${framerate}/1"`;
  }
  const noCompositor = await whyNot("pipewiresrc");
  // It offers its own buffers to videoconvert, and converts nothing that the encoder takes.
  if (noCompositor === undefined) return "pipewiresrc do-timestamp=true keepalive-time=500 ! videoconvert";
  throw new CaptureError(
    [
      "There is nothing to capture from:",
      `- the screen, with ${noScreen}`,
      `- a compositor's stream, with ${noCompositor}`,
      "Mend one of the two (docs/bridge.md), or name elements with --source.",
    ].join("\n"),
  );
}

/** Why an element cannot capture, in sentences; undefined if it can. */
async function whyNot(element: string): Promise<string | undefined> {
  let complaint = "";
  let pipeline: Pipeline;
  try {
    pipeline = new Pipeline(`${element} ! appsink name=${SINK}`, SINK, (event) => {
      if (event.kind === "error" && complaint === "") complaint = event.text;
    });
  } catch (error) {
    if (error instanceof PipelineError) return `${element}: ${asSentence(error.message)}`;
    throw error;
  }
  try {
    // A source that is live opens its device here and delivers nothing.
    await pipeline.setState("paused");
    return undefined;
  } catch (error) {
    if (error instanceof PipelineError) return `${element}: ${asSentence(complaint || error.message)}`;
    throw error;
  } finally {
    await pipeline.close();
  }
}

/** Not every element ends what it says with a full stop. */
function asSentence(text: string): string {
  return text.endsWith(".") ? text : `${text}.`;
}
