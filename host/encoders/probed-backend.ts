/** A back end that finds out, once, what opens on this machine. */
import { errorText } from "../../common/error-text.ts";
import type {
  EncoderBackend,
  EncoderConfiguration,
  EncoderEvents,
  EncoderOffer,
  EncoderSession,
} from "./encoder.ts";
import { probe } from "./probe.ts";

/** Told once, with the reason, when `offers` finds that something of an encoder does not open on this machine. */
export type OnUnavailable = (encoder: string, reason: string) => void;

export abstract class ProbedBackend implements EncoderBackend {
  abstract readonly name: string;
  /** What it offers where that opens, best first, each codec once. */
  protected abstract readonly candidates: readonly EncoderOffer[];
  readonly #onUnavailable: OnUnavailable;
  #offers: Promise<readonly EncoderOffer[]> | undefined;
  #unavailable: string | undefined;

  constructor(onUnavailable: OnUnavailable = () => {}) {
    this.#onUnavailable = onUnavailable;
  }

  abstract open(configuration: EncoderConfiguration, events: EncoderEvents): Promise<EncoderSession>;

  offers(): Promise<readonly EncoderOffer[]> {
    this.#offers ??= this.#probe();
    return this.#offers;
  }

  get unavailable(): string | undefined {
    return this.#unavailable;
  }

  async #probe(): Promise<readonly EncoderOffer[]> {
    const offers: EncoderOffer[] = [];
    const refusals = new Set<string>();
    // One after the other: engines have few sessions.
    for (const candidate of this.candidates) {
      try {
        await probe(this, candidate.codec);
        offers.push(candidate);
      } catch (error) {
        refusals.add(errorText(error));
      }
    }
    if (refusals.size > 0) {
      const reason = [...refusals].join("; ");
      if (offers.length === 0) this.#unavailable = reason;
      this.#onUnavailable(this.name, reason);
    }
    return offers;
  }
}
