/**
 * A pipeline as something to watch.
 *
 * It runs while somebody watches, and not at all else: in PAUSED a pipeline keeps what it has opened, so the host's
 * encoder would stay taken by a guest that nobody looks at. Each start makes a new one, which has nothing left of what
 * went wrong in the last. One that fails is started again, later and later.
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

export interface PipelineSourceSetup {
  readonly id: string;
  readonly title: string;
  /** For gst_parse_launch(), with an appsink named videosink. */
  readonly description: string;
  readonly input?: ViewerSource["input"] | undefined;
  readonly log: Logger;
}

export class PipelineSource implements ViewerSource {
  readonly id: string;
  readonly kind = "pipeline";
  readonly vm = "";
  readonly title: string;
  readonly input?: NonNullable<ViewerSource["input"]>;
  readonly #description: string;
  readonly #log: Logger;
  #events: SourceEvents | undefined;
  #run: PipelineRun | undefined;
  /** Of the runs before: two must not have the encoder, or the screen, at one time. */
  #closed: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #retryMs = FIRST_RETRY_MS;
  #bitrateKbps: number | undefined;
  #state: SourceState = { code: "idle" };

  constructor({ id, title, description, input, log }: PipelineSourceSetup) {
    this.id = id;
    this.title = title;
    this.#description = description;
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

  /** Settles when the last pipeline has been freed. */
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
      // Stopped meanwhile, and maybe started anew.
      if (events === undefined || this.#events !== events || this.#run !== undefined) return;
      this.#play(events);
    });
  }

  #play(events: SourceEvents): void {
    const run = this.#make({
      onAccessUnit: (unit) => {
        this.#retryMs = FIRST_RETRY_MS;
        this.#state = { code: "running" };
        events.onAccessUnit(unit);
      },
      onState: (state) => this.#say(state),
      onEnd: ({ code, text }) => this.#startAgain(code, text),
    });
    if (run === undefined) return;
    this.#run = run;
    if (this.#bitrateKbps !== undefined) run.setBitrate(this.#bitrateKbps);
    run.play();
  }

  #make(events: ConstructorParameters<typeof PipelineRun>[1]): PipelineRun | undefined {
    try {
      return new PipelineRun(this.#description, events, this.#log);
    } catch (error) {
      if (!(error instanceof PipelineError)) throw error;
      this.#log.error({ reason: error.message }, "there is no pipeline");
      this.#startAgain("failed", `${error.message}.`);
      return undefined;
    }
  }

  #startAgain(code: "away" | "failed", text: string): void {
    this.#close();
    const seconds = this.#retryMs / 1000;
    this.#say({ code, text: `${text} The pipeline is started again in ${seconds} s.` });
    this.#retry = setTimeout(() => this.#begin(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  #say(state: SourceState): void {
    this.#state = state;
    this.#events?.onState(state);
  }

  #close(): void {
    const run = this.#run;
    this.#run = undefined;
    if (run !== undefined) this.#closed = run.close();
  }
}
