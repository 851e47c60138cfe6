/** One life of a pipeline: from PLAYING to its end, which an error, EOS or a call makes. */
import type { Logger } from "pino";
import type { CodecName } from "../../common/codec.ts";
import { RateLimit } from "../../viewer/server/rate-limit.ts";
import type { SourceAccessUnit, SourceState } from "../../viewer/server/source.ts";
import { type EncoderNumbers, hostNews, NO_NUMBERS, PipelineEncoder } from "./encoders.ts";
import { type ElementMessage, Pipeline, PipelineError, type PipelineEvent, type Sample } from "./gst.ts";
import { SINK } from "./pipeline-text.ts";

export interface RunEvents {
  onAccessUnit(unit: SourceAccessUnit): void;
  onState(state: SourceState): void;
  /** The last one; the run is to be closed. */
  onEnd(state: Extract<SourceState, { readonly text: string }>): void;
}

const CODECS: Readonly<Record<string, CodecName>> = { "video/x-h264": "h264", "video/x-h265": "h265" };

/** What the sink takes where the pipeline does not say. */
const SINK_CAPS = Object.keys(CODECS)
  .map((media) => `${media},stream-format=(string)byte-stream,alignment=(string)au`)
  .join(";");

/** Access units that wait for this process, before the encoder has to wait. */
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

  /** @throws PipelineError when there is no such pipeline */
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
    this.#pipeline.setState("playing").catch((error: Error) => {
      // The error of an element, which says more, comes before this one.
      this.#end({ code: "failed", text: `The pipeline does not start: ${error.message}.` });
    });
  }

  /** Settles when everything has been freed, the encoder's session too. */
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

  /** Asks the encoder; what it says also goes into the stages of the access units from here on. */
  numbers(): EncoderNumbers {
    if (!this.#ended) this.#numbers = this.#encoder.numbers();
    return this.#numbers;
  }

  /** Runs a command that the stream can do without. */
  #attempt(command: () => void): void {
    if (this.#ended) return;
    try {
      command();
    } catch (error) {
      if (!(error instanceof PipelineError)) throw error;
      if (this.#warnings.take()) this.#log.warn({ reason: error.message }, "the pipeline does not obey");
    }
  }

  #onEvent(event: PipelineEvent): void {
    if (this.#ended) return;
    switch (event.kind) {
      case "sample":
        this.#onSample(event);
        break;
      case "error":
      case "warning":
      case "info":
        this.#onMessage(event);
        break;
      case "eos":
        this.#end({ code: "failed", text: "The pipeline has come to its end." });
        break;
      case "latency":
        this.#logLatency();
        break;
      case "lost":
        this.#log.warn({ count: event.count }, "messages of the pipeline were lost");
        break;
    }
  }

  #onSample({ media, ptsUs, key, ageUs, data }: Sample): void {
    const codec = CODECS[media];
    if (codec === undefined) {
      const wanted = Object.keys(CODECS).join(" or ");
      this.#end({ code: "failed", text: `The pipeline gives ${media}, and viewers take ${wanted}.` });
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
    const news = hostNews(message);
    const details = { element, text, debug };
    if (kind === "error") {
      this.#log.error(details, "the pipeline has failed");
      this.#end(news === "away" ? { code: "away", text } : { code: "failed", text: failureText(message) });
      return;
    }
    if (kind === "info") this.#log.info(details, "the pipeline says");
    else if (this.#warnings.take()) this.#log.warn(details, "the pipeline warns");
    if (news === "away") this.#events.onState({ code: "away", text });
    if (news === "back") this.#events.onState({ code: "running" });
  }

  #logLatency(): void {
    this.#pipeline.queryLatency().then(
      (latency) => this.#log.debug(latency, "the pipeline's latency"),
      (error: Error) => this.#log.debug({ reason: error.message }, "the pipeline's latency is not known"),
    );
  }

  #end(state: Parameters<RunEvents["onEnd"]>[0]): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events.onEnd(state);
  }
}

/** Which element failed and why. What GStreamer says by itself is general; the reason is behind the place in the source. */
function failureText({ element, text, debug }: ElementMessage): string {
  const [, ...reason] = debug.split("\n");
  return [`${element} has failed: ${text}`, ...reason].join(" ");
}
