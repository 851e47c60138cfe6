/**
 * A pipeline as a viewer's source.
 *
 * It exists only while there are viewers: a pipeline in PAUSED would keep the host's encoder open. Each start creates a
 * new pipeline, without state of a failed one. Failures are retried with back-off.
 */
import type { Logger } from "pino";
import type { Health } from "../../common/status-server.ts";
import type {
  SourceEvents,
  SourceState,
  SourceStatistics,
  ViewerSource,
} from "../../viewer/server/source.ts";
import { NO_NUMBERS } from "./encoders.ts";
import { PipelineError } from "./gst.ts";
import { PipelineRun } from "./pipeline-run.ts";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export class PipelineSource implements ViewerSource {
  readonly id = "screen";
  readonly kind = "pipeline";
  readonly vm = "";
  readonly title: string;
  readonly input?: NonNullable<ViewerSource["input"]>;
  readonly #description: string;
  readonly #log: Logger;
  #events: SourceEvents | undefined;
  #run: PipelineRun | undefined;
  /** Of earlier runs: two must not use the encoder, or the screen, at the same time. */
  #closed: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #retryMs = FIRST_RETRY_MS;
  #bitrateKbps: number | undefined;
  #state: SourceState = { code: "idle" };

  /** @param description for gst_parse_launch(), with an appsink named videosink */
  constructor(description: string, title: string, input: ViewerSource["input"] | undefined, log: Logger) {
    this.#description = description;
    this.title = title;
    if (input !== undefined) this.input = input;
    this.#log = log;
  }

  start(events: SourceEvents): void {
    this.#events = events;
    this.#retryMs = FIRST_RETRY_MS;
    this.#state = { code: "running" };
    this.#begin();
  }

  stop(): void {
    this.#events = undefined;
    this.#bitrateKbps = undefined;
    this.#state = { code: "idle" };
    clearTimeout(this.#retry);
    this.#close();
  }

  /** Resolves when the last pipeline has been freed. */
  closed(): Promise<void> {
    return this.#closed;
  }

  requestKeyFrame(): void {
    this.#run?.requestKeyFrame();
  }

  setBitrate(kbps: number): void {
    this.#bitrateKbps = kbps;
    this.#run?.setBitrate(kbps);
  }

  statistics(): SourceStatistics {
    return (this.#run?.numbers() ?? NO_NUMBERS).statistics;
  }

  health(): Health {
    const state = this.#state;
    return "text" in state ? { ok: false, reasons: [state.text] } : { ok: true };
  }

  #begin(): void {
    const events = this.#events;
    void this.#closed.then(() => {
      // It may have been stopped, or even started again, in the meantime.
      if (events !== undefined && this.#events === events && this.#run === undefined) this.#play(events);
    });
  }

  #play(events: SourceEvents): void {
    const runEvents: ConstructorParameters<typeof PipelineRun>[1] = {
      onAccessUnit: (unit) => {
        this.#retryMs = FIRST_RETRY_MS;
        this.#state = { code: "running" };
        events.onAccessUnit(unit);
      },
      onState: (state) => this.#report(state),
      onEnd: (code, text) => this.#startAgain(code, text),
    };
    try {
      this.#run = new PipelineRun(this.#description, runEvents, this.#log);
    } catch (error) {
      if (!(error instanceof PipelineError)) throw error;
      this.#log.error({ reason: error.message }, "cannot create the pipeline");
      this.#startAgain("failed", `${error.message}.`);
      return;
    }
    if (this.#bitrateKbps !== undefined) this.#run.setBitrate(this.#bitrateKbps);
    this.#run.play();
  }

  #startAgain(code: "away" | "failed", text: string): void {
    this.#close();
    this.#report({ code, text: `${text} The pipeline restarts in ${this.#retryMs / 1000} s.` });
    this.#retry = setTimeout(() => this.#begin(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  #report(state: SourceState): void {
    this.#state = state;
    this.#events?.onState(state);
  }

  #close(): void {
    if (this.#run !== undefined) this.#closed = this.#run.close();
    this.#run = undefined;
  }
}
