/** An access unit for viewers, and the configuration that a decoder needs for it. */
import protobuf from "protobufjs/minimal.js";
import { vsockenc } from "../../../proto/protobuf.ts";
import { VIEWER_LIMITS } from "../../../proto/viewer-limits.ts";
import { encodeServerMessage } from "../../../proto/viewer-messages.ts";
import type { SourceAccessUnit } from "../source.ts";
import type { StreamDescription } from "./description.ts";

/** The clock of AccessUnit.sent_us and ServerPong.clock_us, in microseconds, with an arbitrary zero. */
export function serverClockUs(): number {
  return Math.round(performance.now() * 1000);
}

/** StreamConfiguration, encoded once for all viewers; one object until it changes. */
export class Configuration {
  readonly description: StreamDescription;
  readonly message: Uint8Array;

  constructor(description: StreamDescription) {
    this.description = description;
    this.message = encodeServerMessage({ type: "configuration", body: description });
  }
}

/** Tags of length-delimited fields: ServerMessage.access_unit and AccessUnit.data. */
const ACCESS_UNIT_TAG = (4 << 3) | 2;
const DATA_TAG = (6 << 3) | 2;

export class Unit {
  /** Counts the source's units, modulo 2^32. */
  readonly #number: number;
  readonly configuration: Configuration;
  readonly source: SourceAccessUnit;
  readonly key: boolean;
  readonly bytes: number;
  /** When the source delivered it. */
  readonly #arrivedUs = serverClockUs();

  constructor(number: number, configuration: Configuration, source: SourceAccessUnit) {
    this.#number = number;
    this.configuration = configuration;
    this.source = source;
    this.key = source.key;
    this.bytes = source.data.length;
  }

  /**
   * The ServerMessage up to the access unit's bytes, which are its last field. Head and bytes are sent as two fragments of
   * one WebSocket message, so the bytes are never copied or encoded per viewer.
   *
   * @param live whether the time since delivery is meaningful, which it is not for a unit from the cache
   */
  head({ live, replay }: { readonly live: boolean; readonly replay: boolean }): Uint8Array {
    const { ptsUs, key, stages } = this.source;
    const sentUs = serverClockUs();
    const times = { ...stages, deliverUs: live ? sentUs - this.#arrivedUs : 0 };
    const unit = { number: this.#number, ptsUs, key, replay, stages: times, sentUs };
    const fields = vsockenc.viewer.AccessUnit.encode(unit).uint32(DATA_TAG).uint32(this.bytes).finish();
    const envelope = protobuf.Writer.create()
      .uint32(ACCESS_UNIT_TAG)
      .uint32(fields.length + this.bytes)
      .finish();
    return Buffer.concat([envelope, fields]);
  }
}

/** The current group of pictures, starting with its key unit, if it stays within GROUP_UNITS and GROUP_BYTES. */
export class GroupCache {
  #units: Unit[] = [];
  #bytes = 0;

  /** Empty without a group, or when it has become too long to be replayed. */
  get units(): readonly Unit[] {
    return this.#units;
  }

  push(unit: Unit): void {
    if (unit.key) this.clear();
    else if (this.#units.length === 0) return;
    this.#units.push(unit);
    this.#bytes += unit.bytes;
    const tooLong = this.#units.length > VIEWER_LIMITS.GROUP_UNITS || this.#bytes > VIEWER_LIMITS.GROUP_BYTES;
    // A key unit of any size is kept, because a viewer can start with it alone.
    if (tooLong && !unit.key) this.clear();
  }

  clear(): void {
    this.#units = [];
    this.#bytes = 0;
  }
}
