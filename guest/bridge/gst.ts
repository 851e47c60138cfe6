/**
 * A running GStreamer pipeline (gst.node, guest/bridge/native).
 *
 * Only the constructor may block, which parses and loads plugins: slow calls run on a thread of the pipeline's own.
 */
import { loadAddon } from "../../common/load-addon.ts";

export interface Sample {
  readonly kind: "sample";
  /** Media type of the caps, e.g. "video/x-h264". */
  readonly media: string;
  /** The buffer's, in microseconds; undefined if it has none. */
  readonly ptsUs: number | undefined;
  readonly durationUs: number | undefined;
  /** Decoding can begin here. */
  readonly key: boolean;
  /** Time since the timestamp by the pipeline's clock; undefined if unknown. */
  readonly ageUs: number | undefined;
  readonly data: Uint8Array;
}

/** A message of an element, with the GError's domain and code. */
export interface ElementMessage {
  readonly kind: "error" | "warning" | "info";
  /** Name of the element, and of its factory. */
  readonly element: string;
  readonly factory: string;
  readonly domain: string;
  readonly code: number;
  /** One sentence. */
  readonly text: string;
  /** The location in the source, and details. */
  readonly debug: string;
}

/** Events of a pipeline, in order: samples that precede a message are delivered before it. */
export type PipelineEvent =
  | Sample
  | ElementMessage
  | { readonly kind: "eos" }
  /** The latency has changed, and the pipeline has been updated. */
  | { readonly kind: "latency" }
  /** Number of messages that were discarded because this thread was busy. */
  | { readonly kind: "lost"; readonly count: number };

/** `maxUs` is undefined where there is no limit. */
export type Latency = Readonly<{ live: boolean; minUs: number | undefined; maxUs: number | undefined }>;

/** The value of a property: a structure is an object, an enum its nick; other types are GStreamer's text. */
export type PropertyValue =
  | string
  | number
  | boolean
  | null
  | { readonly [field: string]: PropertyValue | undefined };

type PipelineState = "paused" | "playing";

type ErrorKind =
  | "parse"
  | "missing-element"
  | "sink"
  | "no-element"
  | "property"
  | "busy"
  | "state"
  | "system";

/** A pipeline cannot be created, or rejected a command; the message states the remedy. */
export class PipelineError extends Error {
  override readonly name = "PipelineError";
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

interface Reply {
  readonly kind: "reply";
  readonly token: number;
  /** "" on success. */
  readonly failure: string;
  readonly latency?: Latency;
}

interface NativePipeline {
  setState(state: PipelineState, token: number): void;
  queryLatency(token: number): void;
  forceKeyUnit(): void;
  close(token: number): void;
  dispose(): void;
  elements(): { readonly name: string; readonly factory: string }[];
  getProperty(element: string, property: string): PropertyValue;
  setProperty(element: string, property: string, value: boolean | number | string): void;
}

/** Codes of linux/input-event-codes.h. */
export interface InputDeviceSetup {
  readonly name: string;
  readonly keys: readonly number[];
  readonly relative: readonly number[];
  readonly absolute: readonly number[];
  /** Of every absolute axis, which begins at 0. */
  readonly absoluteMaximum: number;
  readonly properties: readonly number[];
}

interface GstAddon {
  readonly NativePipeline: new (
    description: string,
    sink: string,
    listener: (event: PipelineEvent | Reply) => void,
  ) => NativePipeline;
  /** Creates an input device with an open /dev/uinput; it exists until the descriptor is closed. @throws Error with `errno` */
  createInputDevice(descriptor: number, setup: InputDeviceSetup): void;
}

let loaded: GstAddon | undefined;

/** Loads GStreamer, which scans its plugins the first time. @throws NativeAddonError */
export function loadGStreamer(): GstAddon {
  loaded ??= loadAddon("gst") as GstAddon;
  return loaded;
}

const ADVICE: Partial<Record<ErrorKind, (text: string) => string>> = {
  parse: (text) => `invalid pipeline: ${text}`,
  "missing-element": (text) =>
    `GStreamer has no element ${text}: install the plugin, or add its folder to GST_PLUGIN_PATH`,
  sink: (text) => `unusable pipeline: ${text}; end it with "! appsink name=videosink"`,
};

/** Runs `action` and turns errors of the addon into PipelineError. */
function translated<Result>(action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    const { kind, message } = error as { kind?: ErrorKind; message: string };
    if (kind === undefined) throw error;
    throw new PipelineError(kind, ADVICE[kind]?.(message) ?? message);
  }
}

export class Pipeline {
  readonly #native: NativePipeline;
  /** By token. */
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #nextToken = 1;
  #closing: Promise<void> | undefined;

  /**
   * @param description for gst_parse_launch(); the pipeline stays in NULL
   * @param sink name of the appsink whose samples are delivered
   * @param onEvent its exceptions become uncaught exceptions
   * @throws PipelineError
   */
  constructor(description: string, sink: string, onEvent: (event: PipelineEvent) => void) {
    const { NativePipeline } = loadGStreamer();
    const surfacing = (event: PipelineEvent | Reply): void => {
      try {
        if (event.kind === "reply") this.#onReply(event);
        else if (this.#closing === undefined) onEvent(event);
      } catch (error) {
        // Left to a thread-safe function, Node 20 only prints a warning (DEP0168).
        queueMicrotask(() => {
          throw error;
        });
      }
    };
    this.#native = translated(() => new NativePipeline(description, sink, surfacing));
  }

  /** Resolves when the elements have accepted the change. @throws PipelineError "state"; an error event has the reason */
  async setState(state: PipelineState): Promise<void> {
    await this.#ask((token) => this.#native.setState(state, token));
  }

  /** @throws PipelineError "state" if it is not known yet */
  async queryLatency(): Promise<Latency> {
    const { latency } = await this.#ask((token) => this.#native.queryLatency(token));
    return latency ?? { live: false, minUs: undefined, maxUs: undefined };
  }

  /** Requests a key frame with all parameter sets. */
  forceKeyUnit(): void {
    translated(() => this.#native.forceKeyUnit());
  }

  /** All elements, including those in bins. */
  elements(): readonly { readonly name: string; readonly factory: string }[] {
    return this.#native.elements();
  }

  /** @throws PipelineError "no-element" or "property" */
  getProperty(element: string, property: string): PropertyValue {
    return translated(() => this.#native.getProperty(element, property));
  }

  /**
   * @param value a string is parsed as in a pipeline's text
   * @throws PipelineError "no-element", or "property" with the accepted values
   */
  setProperty(element: string, property: string, value: boolean | number | string): void {
    translated(() => this.#native.setProperty(element, property, value));
  }

  /** Stops and frees the pipeline. No event, and no other call, may follow. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#ask((token) => this.#native.close(token));
    this.#native.dispose();
  }

  #ask(command: (token: number) => void): Promise<Reply> {
    const token = this.#nextToken++;
    return new Promise((resolve, reject) => {
      translated(() => command(token));
      this.#waiting.set(token, (reply) => {
        if (reply.failure === "") resolve(reply);
        else reject(new PipelineError("state", reply.failure));
      });
    });
  }

  #onReply(reply: Reply): void {
    this.#waiting.get(reply.token)?.(reply);
    this.#waiting.delete(reply.token);
  }
}
