/**
 * The session of a stream that outlives its encoder.
 *
 * When the encoder fails, the stream continues with a key frame of the same encoder, opened again, or of the next one
 * (order.ts). Frames in the failed encoder are lost: each is answered with "frame-failed" or "dropped". Frames that come
 * while no encoder is open are held for the next one, unless their source is closed meanwhile.
 */
import { errorText } from "../../common/error-text.ts";
import {
  checkInFlight,
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderDescription,
  type EncoderEvent,
  EncoderFailedError,
  EncoderFullError,
  EncoderHungError,
  type EncoderListener,
  type EncoderSession,
  EncoderUnavailableError,
  type FrameRequest,
  type FrameSource,
} from "./encoder.ts";
import type { EncoderOrder, EncoderTrial } from "./order.ts";

/** An encoder that is open, or that has failed. */
interface Opened {
  readonly backend: EncoderBackend;
  readonly session: EncoderSession;
}

type Loss = EncoderEvent & { readonly kind: "failed" };

export class FallbackSession implements EncoderSession {
  readonly #order: EncoderOrder;
  readonly #listener: EncoderListener;
  #configuration: EncoderConfiguration;
  #opened: Opened;
  #trial: EncoderTrial;
  /** Encoders that the stream has left. */
  readonly #left = new Set<EncoderBackend>();
  /** Why the open encoder has failed. */
  #loss: Loss | undefined;
  /** While no encoder is open; settles when one is, or when the session has failed. */
  #replacing: Promise<void> | undefined;
  readonly #held: { readonly source: FrameSource; readonly request: FrameRequest }[] = [];
  #failure: EncoderFailedError | undefined;
  #closed = false;

  private constructor(
    order: EncoderOrder,
    configuration: EncoderConfiguration,
    listener: EncoderListener,
    opened: Opened,
  ) {
    this.#order = order;
    this.#configuration = configuration;
    this.#listener = listener;
    this.#opened = opened;
    this.#trial = order.trial(opened.backend);
  }

  /** @throws EncoderUnavailableError with the reason of each encoder */
  static async open(
    order: EncoderOrder,
    configuration: EncoderConfiguration,
    listener: EncoderListener,
  ): Promise<FallbackSession> {
    let session: FallbackSession | undefined;
    const onEvent = (event: EncoderEvent): void =>
      session === undefined ? listener(event) : session.#onEvent(event);
    const opened = await openFirst(order.encoders, order, configuration, onEvent);
    session = new FallbackSession(order, configuration, listener, opened);
    return session;
  }

  get description(): EncoderDescription {
    return this.#opened.session.description;
  }

  encode(source: FrameSource, request: FrameRequest): void {
    if (this.#closed) throw new EncoderFailedError("the session is closed");
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#replacing === undefined) {
      this.#opened.session.encode(source, request);
      return;
    }
    checkInFlight(request.frame, this.#held.length);
    this.#held.push({ source, request });
  }

  reconfigure(configuration: EncoderConfiguration): boolean {
    if (this.#replacing !== undefined || !this.#opened.session.reconfigure(configuration)) return false;
    this.#configuration = configuration;
    return true;
  }

  async drain(): Promise<void> {
    await this.#replacing;
    await this.#opened.session.drain();
  }

  async flush(): Promise<void> {
    await this.#replacing;
    await this.#opened.session.flush();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#replacing;
    await this.#closeOpened();
  }

  /** Closes the encoder, also one whose driver does not answer. */
  async #closeOpened(): Promise<void> {
    try {
      await this.#opened.session.close();
    } catch (error) {
      if (!(error instanceof EncoderHungError)) throw error;
      this.#order.hung(this.#opened.backend, error.message);
    }
  }

  #onEvent(event: EncoderEvent): void {
    if (event.kind === "packet") this.#trial.packet();
    if (event.kind !== "failed") {
      this.#listener(event);
    } else if (!this.#closed) {
      if (event.hung) this.#order.hung(this.#opened.backend, event.message);
      this.#loss = event;
      this.#replacing ??= this.#replace();
    }
  }

  /** Never rejects. */
  async #replace(): Promise<void> {
    // A new encoder may fail before its first frame.
    while (this.#loss !== undefined && this.#failure === undefined && !this.#closed) {
      const loss = this.#loss;
      this.#loss = undefined;
      try {
        await this.#openNext(loss);
      } catch (error) {
        this.#failure = new EncoderFailedError(errorText(error));
      }
    }
    this.#replacing = undefined;
    this.#release();
    if (this.#failure !== undefined && !this.#closed) {
      this.#listener({ kind: "failed", message: this.#failure.message });
    }
  }

  /** @throws EncoderFailedError with the reasons, the last encoder's first */
  async #openNext({ message: reason, hung }: Loss): Promise<void> {
    const { backend, session } = this.#opened;
    const again = hung === undefined && this.#trial.failed(reason);
    if (!again) this.#left.add(backend);
    const others = this.#order.encoders.filter((other) => other !== backend && !this.#left.has(other));
    const next = again ? [backend, ...others] : others;
    if (next.length === 0) throw new EncoderFailedError(reason);
    // Answers the frames of the failed encoder, and frees what the next one may need.
    await this.#closeOpened();
    const onEvent = (event: EncoderEvent): void => this.#onEvent(event);
    try {
      this.#opened = await openFirst(next, this.#order, this.#configuration, onEvent);
    } catch (error) {
      throw new EncoderFailedError(`${reason}; ${errorText(error)}`);
    }
    if (this.#opened.backend !== backend) this.#trial = this.#order.trial(this.#opened.backend);
    if (!this.#closed) this.#listener({ kind: "replaced", from: session.description, to: this.description });
  }

  /** Encodes the frames that were held, or drops them. */
  #release(): void {
    for (const { source, request } of this.#held.splice(0)) {
      if (!this.#closed && this.#failure === undefined && !source.closed) {
        this.#opened.session.encode(source, request);
        continue;
      }
      const { frame } = request;
      this.#listener({ kind: "read", frame });
      this.#listener({ kind: "dropped", frame, reason: this.#closed ? "flushed" : "encoder" });
    }
  }
}

/**
 * Opens the first encoder that can. Notes name those before it that did not open.
 *
 * @throws EncoderUnavailableError with the reason of each
 */
async function openFirst(
  encoders: readonly EncoderBackend[],
  order: EncoderOrder,
  configuration: EncoderConfiguration,
  listener: EncoderListener,
): Promise<Opened> {
  const failures: string[] = [];
  const rejections: string[] = [];
  const absences: string[] = [];
  for (const backend of encoders) {
    // An encoder that failed its probe is not tried again for every stream.
    if ((await backend.offers()).length === 0) {
      absences.push(`${backend.name}: ${backend.unavailable ?? "it does not work on this machine"}`);
      continue;
    }
    try {
      const session = await backend.open(configuration, listener);
      for (const failure of failures) listener({ kind: "note", message: `${failure}; the next one is used` });
      return { backend, session };
    } catch (error) {
      const reason = `${backend.name}: ${errorText(error)}`;
      if (error instanceof EncoderUnavailableError) rejections.push(reason);
      else failures.push(reason);
      if (error instanceof EncoderFullError) order.full(backend);
      if (error instanceof EncoderHungError) order.hung(backend, error.message);
    }
  }
  const { codec, width, height } = configuration;
  // The wire has room for one or two reasons: the ones that another configuration avoids come first.
  const reasons = [...rejections, ...failures, ...absences];
  throw new EncoderUnavailableError(
    `no encoder for ${codec} ${width}x${height}: ${reasons.join("; ") || "none is configured"}`,
  );
}
