/**
 * Messages of vhost-user from a hostile front end. Input: one message. Every parser gets its payload, for which of them is
 * right only the request says; a memory table is mapped.
 */
import assert from "node:assert/strict";
import {
  MAX_PAYLOAD_BYTES,
  MAX_REGIONS,
  MESSAGE_HEADER_BYTES,
  parseHeader,
  parseMemoryTable,
  parseRingAddresses,
  parseRingDescriptor,
  parseRingState,
  parseU64,
  VhostUserError,
} from "../../../host/gpu/vhost-user-protocol.ts";
import { GuestMemory } from "../../../host/native/guest-memory.ts";
import { createMemory, duplicateDescriptor } from "../../../host/native/os-addon.ts";
import { readRecordings } from "../../vectors/vhost/recordings.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";

const MEMORY_BYTES = 1 << 20;

function seeds(): Buffer[] {
  const messages = readRecordings()
    .flat()
    .flatMap((entry) => ("message" in entry ? [entry] : []));
  const inputs = messages.map(({ message, payload }) => {
    const header = Buffer.alloc(MESSAGE_HEADER_BYTES);
    header.writeUInt32LE(message, 0);
    header.writeUInt32LE(1, 4);
    header.writeUInt32LE(payload.length, 8);
    return Buffer.concat([header, payload]);
  });
  return [...new Map(inputs.map((input) => [input.toString("hex"), input])).values()];
}

/** @returns undefined if it is refused as it should be */
function accepted<Parsed>(parse: () => Parsed): Parsed | undefined {
  try {
    return parse();
  } catch (error) {
    assert(error instanceof VhostUserError, String(error));
    return undefined;
  }
}

export const vhostUser: TypescriptTarget = {
  files: ["host/gpu/vhost-user-protocol.ts"],
  seeds,
  property: () => {
    const memory = createMemory("fuzz", MEMORY_BYTES);
    return (input) => {
      if (input.length < MESSAGE_HEADER_BYTES) return;
      const header = accepted(() => parseHeader(input.subarray(0, MESSAGE_HEADER_BYTES)));
      if (header === undefined) return;
      assert(header.size <= MAX_PAYLOAD_BYTES);
      const payload = input.subarray(MESSAGE_HEADER_BYTES);
      for (const parse of [parseU64, parseRingState, parseRingAddresses, parseRingDescriptor]) {
        accepted(() => parse(payload));
      }
      const regions = accepted(() => parseMemoryTable(payload));
      if (regions === undefined || regions.length === 0) return;
      assert(regions.length <= MAX_REGIONS);
      const files = regions.map(() => duplicateDescriptor(memory));
      let mapped: GuestMemory;
      try {
        mapped = new GuestMemory([...regions], files);
      } catch (error) {
        assert(error instanceof Error && !(error instanceof TypeError), String(error));
        return;
      }
      for (const { guestAddress, size } of regions) {
        const runs = mapped.locate(new Float64Array([guestAddress, size]), 16);
        assert(runs !== undefined, "a region that is not in the memory that it makes");
      }
      mapped.close();
    };
  },
};
