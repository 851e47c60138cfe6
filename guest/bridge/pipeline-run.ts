/** One run of a pipeline: from PLAYING until an error, EOS or close(). */
import type { Logger } from "pino";
import type { CodecName } from "../../common/codec.ts";
import { RateLimit } from "../../common/rate-limit.ts";
import type { SourceAccessUnit, SourceState } from "../../viewer/server/source.ts";
import { type EncoderNumbers, hostChange, NO_NUMBERS, PipelineEncoder } from "./encoders.ts";
import { type ElementMessage, Pipeline, PipelineError, type PipelineEvent, type Sample } from "./gst.ts";
import { SINK } from "./pipeline-text.ts";

export interface RunEvents {
  onAccessUnit(unit: SourceAccessUnit): void;
  onState(state: SourceState): void;
  /** The last event; the run is to be closed. */
  onEnd(code: "away" | "failed", text: string): void;
}

const CODECS: Readonly<Record<string, CodecName>> = { "video/x-h264": "h264", "video/x-h265": "h265" };

/** The sink's caps unless the pipeline sets them. */
const SINK_CAPS = Object.keys(CODECS)
  .map((media) => `${media},stream-format=(string)byte-stream,alignment=(string)au`)
  .join(";");

/** Access units that may wait for this process before the encoder has to wait. */
const SINK_BUFFERS = 8;
const WARNINGS_PER_SECOND = 2;

export class PipelineRun {
  readonly #pipeline: Pipeline;
  readonly #encoder: PipelineEncoder;
  readonly #events: RunEvents;
  readonly #log: Logger;
  readonly #warnings = new RateLimit(WARNINGS_PER_SECOND);
  readonly #startedMs = performance.now();
  #numbers = NO_NUMBERS;
  #ended = false;

  /** @throws PipelineError */
  constructor(description: string, events: RunEvents, log: Logger) {
    this.#events = events;
    this.#log = log;
    this.#pipeline = new Pipeline(description, SINK, (event) => this.#onEvent(event));
    this.#encoder = new PipelineEncoder(this.#pipeline);
    this.#pipeline.setProperty(SINK, "drop", false);
    this.#pipeline.setProperty(SINK, "max-buffers", SINK_BUFFERS);
    if (this.#pipeline.getProperty(SINK, "caps") === null) {
      this.#pipeline.setProperty(SINK, "caps", SINK_CAPS);
    }
  }

  play(): void {
    // An element's own error, which is more specific, arrives before this one.
    this.#pipeline
      .setState("playing")
      .catch(({ message }: Error) => this.#end("failed", `The pipeline does not start: ${message}.`));
  }

  /** Resolves when everything has been freed, including the encoder's session. */
  close(): Promise<void> {
    this.#ended = true;
    return this.#pipeline.close();
  }

  requestKeyFrame(): void {
    this.#attempt(() => this.#pipeline.forceKeyUnit());
  }

  setBitrate(kbps: number): void {
    this.#attempt(() => this.#encoder.setBitrate(kbps));
  }

  /** Reads the encoder's numbers, which later access units carry, too. */
  numbers(): EncoderNumbers {
    if (!this.#ended) this.#numbers = this.#encoder.numbers();
    return this.#numbers;
  }

  /** Runs a command whose failure does not affect the stream. */
  #attempt(command: () => void): void {
    if (this.#ended) return;
    try {
      command();
    } catch (error) {
      if (!(error instanceof PipelineError)) throw error;
      if (this.#warnings.take()) this.#log.warn({ reason: error.message }, "a pipeline command failed");
    }
  }

  #onEvent(event: PipelineEvent): void {
    if (this.#ended) return;
    const { kind } = event;
    if (kind === "sample") this.#onSample(event);
    else if (kind === "eos") this.#end("failed", "The pipeline has ended.");
    else if (kind === "latency") this.#logLatency();
    else if (kind === "lost")
      this.#log.warn({ count: event.count }, "messages of the pipeline were discarded");
    else this.#onMessage(event);
  }

  #onSample({ media, ptsUs, key, ageUs, data }: Sample): void {
    const codec = CODECS[media];
    if (codec === undefined) {
      const supported = Object.keys(CODECS).join(" or ");
      this.#end("failed", `The pipeline's media type is ${media}; viewers need ${supported}.`);
      return;
    }
    if (data.length === 0) return;
    const { stages, roundTripUs } = this.#numbers;
    const captureUs = ageUs === undefined || roundTripUs === 0 ? 0 : Math.max(0, ageUs - roundTripUs);
    this.#events.onAccessUnit({
      codec,
      ptsUs: ptsUs ?? Math.round((performance.now() - this.#startedMs) * 1000),
      key,
      stages: { ...stages, captureUs },
      data,
    });
  }

  #onMessage(message: ElementMessage): void {
    const { kind, element, text, debug } = message;
    const change = hostChange(message);
    const details = { element, text, debug };
    if (kind === "error") {
      this.#log.error(details, "the pipeline has failed");
      if (change === "away") this.#end("away", text);
      else this.#end("failed", failureText(message));
      return;
    }
    if (kind === "info") this.#log.info(details, "pipeline message");
    else if (this.#warnings.take()) this.#log.warn(details, "pipeline warning");
    if (change === "away") this.#events.onState({ code: "away", text });
    if (change === "back") this.#events.onState({ code: "running" });
  }

  #logLatency(): void {
    this.#pipeline.queryLatency().then(
      (latency) => this.#log.debug(latency, "latency of the pipeline"),
      ({ message }: Error) => this.#log.debug({ reason: message }, "unknown latency of the pipeline"),
    );
  }

  #end(...[code, text]: Parameters<RunEvents["onEnd"]>): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events.onEnd(code, text);
  }
}

/** GStreamer's message is general; the reason follows the source location in the debug details. */
function failureText({ element, text, debug }: ElementMessage): string {
  const [, ...reason] = debug.split("\n");
  return [`${element} has failed: ${text}`, ...reason].join(" ");
}
