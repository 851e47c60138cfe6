/**
 * A running GStreamer pipeline (gst.node, guest/bridge/native), as TypeScript sees it.
 *
 * No call blocks but the constructor, which parses and loads plugins: what takes its time runs on a thread of the
 * pipeline's own.
 */
import { loadAddon } from "../../common/load-addon.ts";

export interface Sample {
  readonly kind: "sample";
  /** Media type of the caps, e.g. "video/x-h264". */
  readonly media: string;
  /** Microseconds, as the buffer has them; undefined where it has none. */
  readonly ptsUs: number | undefined;
  readonly durationUs: number | undefined;
  /** Decoding can begin here. */
  readonly key: boolean;
  /** Since the moment that the timestamp means, by the pipeline's clock; undefined where it is not known. */
  readonly ageUs: number | undefined;
  readonly data: Uint8Array;
}

/** An error, a warning or an information of an element, with the GError's domain and code. */
export interface ElementMessage {
  readonly kind: "error" | "warning" | "info";
  /** Name of the element, and of what made it. */
  readonly element: string;
  readonly factory: string;
  readonly domain: string;
  readonly code: number;
  /** A sentence for people. */
  readonly text: string;
  /** For developers: where in the source it comes from, and more. */
  readonly debug: string;
}

/** What a pipeline says. What an element did before it said something is delivered before it. */
export type PipelineEvent =
  | Sample
  | ElementMessage
  | { readonly kind: "eos" }
  /** The latency has changed; the pipeline has been told already. */
  | { readonly kind: "latency" }
  /** So many messages found no room, because this thread was busy. */
  | { readonly kind: "lost"; readonly count: number };

export interface Latency {
  readonly live: boolean;
  readonly minUs: number | undefined;
  /** Undefined: without limit. */
  readonly maxUs: number | undefined;
}

/** The value of a property: a structure is an object, an enum its nick, what has no like its text in GStreamer. */
export type PropertyValue =
  | string
  | number
  | boolean
  | null
  | { readonly [field: string]: PropertyValue | undefined };

export type PipelineState = "null" | "ready" | "paused" | "playing";

type ErrorKind =
  | "parse"
  | "missing-element"
  | "sink"
  | "no-element"
  | "property"
  | "busy"
  | "state"
  | "system";

/** A pipeline cannot be made or does not do what it is told; the message says what to do. */
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
  /** "" where it succeeded. */
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
  /** Of every absolute axis; the least is 0. */
  readonly absoluteMaximum: number;
  readonly properties: readonly number[];
}

interface GstAddon {
  readonly NativePipeline: new (
    description: string,
    sink: string,
    listener: (event: PipelineEvent | Reply) => void,
  ) => NativePipeline;
  createInputDevice(descriptor: number, setup: InputDeviceSetup): void;
}

let loaded: GstAddon | undefined;

function addon(): GstAddon {
  loaded ??= loadAddon("gst") as GstAddon;
  return loaded;
}

/**
 * Loads GStreamer, which looks through its plugins the first time.
 *
 * @throws NativeAddonError
 */
export function loadGStreamer(): void {
  addon();
}

/**
 * Makes an input device of an open /dev/uinput; it lives until the descriptor is closed.
 *
 * @throws Error of the system, with `errno`
 */
export function createInputDevice(descriptor: number, setup: InputDeviceSetup): void {
  addon().createInputDevice(descriptor, setup);
}

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: PipelineError): void;
}

const ADVICE: Partial<Record<ErrorKind, (text: string) => string>> = {
  parse: (text) => `the pipeline cannot be read: ${text}`,
  "missing-element": (text) =>
    `this GStreamer has no ${text}: install the plugin, or name its folder with GST_PLUGIN_PATH`,
  sink: (text) => `the pipeline cannot be used: ${text}; end it with "! appsink name=videosink"`,
};

/** Runs what may throw an error of the addon. */
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
  readonly #waiting = new Map<number, Waiting>();
  #nextToken = 1;
  #closing: Promise<void> | undefined;

  /**
   * @param description for gst_parse_launch(); it is parsed and stays in NULL
   * @param sink name of the appsink whose samples are delivered
   * @param onEvent what it throws becomes an uncaught exception
   * @throws PipelineError
   */
  constructor(description: string, sink: string, onEvent: (event: PipelineEvent) => void) {
    const { NativePipeline } = addon();
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

  /**
   * Settles when the elements have accepted the change.
   *
   * @throws PipelineError "state"; an error event says why
   */
  async setState(state: PipelineState): Promise<void> {
    await this.#ask((token) => this.#native.setState(state, token));
  }

  /** @throws PipelineError "state" where the elements do not know it yet */
  async queryLatency(): Promise<Latency> {
    const { latency } = await this.#ask((token) => this.#native.queryLatency(token));
    return latency ?? { live: false, minUs: undefined, maxUs: undefined };
  }

  /** Asks the encoder for a key frame with all parameter sets. */
  forceKeyUnit(): void {
    translated(() => this.#native.forceKeyUnit());
  }

  /** Every element, also those within bins. */
  elements(): readonly { readonly name: string; readonly factory: string }[] {
    return this.#native.elements();
  }

  /** @throws PipelineError "no-element" or "property" */
  getProperty(element: string, property: string): PropertyValue {
    return translated(() => this.#native.getProperty(element, property));
  }

  /**
   * @param value a string is read as in a pipeline's text
   * @throws PipelineError "no-element", or "property" with what it takes
   */
  setProperty(element: string, property: string, value: boolean | number | string): void {
    translated(() => this.#native.setProperty(element, property, value));
  }

  /** Stops everything and frees it. No event follows the call; no other method may follow it. */
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
      this.#waiting.set(token, { resolve, reject });
    });
  }

  #onReply(reply: Reply): void {
    const waiting = this.#waiting.get(reply.token);
    this.#waiting.delete(reply.token);
    if (reply.failure === "") waiting?.resolve(reply);
    else waiting?.reject(new PipelineError("state", reply.failure));
  }
}
