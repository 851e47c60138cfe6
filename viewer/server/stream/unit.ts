/** An access unit for viewers, and the configuration that a decoder needs for it. */
import protobuf from "protobufjs/minimal.js";
import { vsockenc } from "../../../proto/protobuf.ts";
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
  readonly number: number;
  readonly configuration: Configuration;
  readonly source: SourceAccessUnit;
  /** When the source delivered it. */
  readonly #arrivedUs = serverClockUs();

  constructor(number: number, configuration: Configuration, source: SourceAccessUnit) {
    this.number = number;
    this.configuration = configuration;
    this.source = source;
  }

  get key(): boolean {
    return this.source.key;
  }

  get bytes(): number {
    return this.source.data.length;
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
    const deliverUs = live ? sentUs - this.#arrivedUs : 0;
    const fields = vsockenc.viewer.AccessUnit.encode({
      number: this.number,
      ptsUs,
      key,
      replay,
      stages: { ...stages, deliverUs },
      sentUs,
    })
      .uint32(DATA_TAG)
      .uint32(this.bytes)
      .finish();
    const envelope = protobuf.Writer.create()
      .uint32(ACCESS_UNIT_TAG)
      .uint32(fields.length + this.bytes)
      .finish();
    return Buffer.concat([envelope, fields]);
  }
}
