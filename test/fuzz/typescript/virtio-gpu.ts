/**
 * The device model against a hostile driver. Input: commands, each a byte for the queue, a u16 of length and the command. After
 * each, what readers see must hold: pixels lie within the guest's memory, and no backing is revoked twice.
 */
import assert from "node:assert/strict";
import { pino } from "pino";
import { Command } from "../../../host/gpu/commands.ts";
import { GpuDevice } from "../../../host/gpu/device.ts";
import { SharedMemories } from "../../../host/gpu/export-source.ts";
import { GuestWarnings } from "../../../host/gpu/limits.ts";
import { GuestMemory } from "../../../host/native/guest-memory.ts";
import { createMemory } from "../../../host/native/os-addon.ts";
import { readRecordings } from "../../vectors/vhost/recordings.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";

const MEMORY_BYTES = 64 << 20;
const RECORD_HEAD_BYTES = 3;
const MAX_SEED_BYTES = 6000;
const FIRST_RESPONSE = 0x1100;
const LAST_ERROR = 0x1205;

/** RESOURCE_ATTACH_BACKING: where its entries begin, and the size of one (5.7.6.8). */
const ENTRIES_AT = 32;
const ENTRY_BYTES = 16;

/** A recorded guest had more memory than this one. */
function rebased(command: Buffer): Buffer {
  if (command.readUInt32LE(0) !== Command.RESOURCE_ATTACH_BACKING) return command;
  const copy = Buffer.from(command);
  for (let at = ENTRIES_AT; at + ENTRY_BYTES <= copy.length; at += ENTRY_BYTES) {
    copy.writeBigUInt64LE(copy.readBigUInt64LE(at) % BigInt(MEMORY_BYTES / 2), at);
  }
  return copy;
}

function record(ring: number, command: Buffer): Buffer {
  const head = Buffer.alloc(RECORD_HEAD_BYTES);
  head[0] = ring;
  head.writeUInt16LE(command.length, 1);
  return Buffer.concat([head, command]);
}

/** The recorded sessions, cut where an input ends. */
function seeds(): Buffer[] {
  return readRecordings().flatMap((recording) => {
    const inputs: Buffer[] = [];
    let input = Buffer.alloc(0);
    for (const entry of recording) {
      if (!("command" in entry) || entry.command.length < 4 || entry.command.length > MAX_SEED_BYTES)
        continue;
      if (input.length + entry.command.length > MAX_SEED_BYTES) {
        inputs.push(input);
        input = Buffer.alloc(0);
      }
      input = Buffer.concat([input, record(entry.ring, rebased(entry.command))]);
    }
    return [...inputs, input].filter(({ length }) => length > 0).slice(0, 8);
  });
}

function commands(input: Buffer): { readonly ring: number; readonly command: Buffer }[] {
  const list: { ring: number; command: Buffer }[] = [];
  for (let at = 0; at + RECORD_HEAD_BYTES <= input.length; ) {
    const begin = at + RECORD_HEAD_BYTES;
    const end = begin + input.readUInt16LE(at + 1);
    list.push({ ring: (input[at] ?? 0) & 1, command: input.subarray(begin, end) });
    at = end;
  }
  return list;
}

export const virtioGpu: TypescriptTarget = {
  files: ["device", "commands", "resources", "backing", "cursor", "edid"].map(
    (name) => `host/gpu/${name}.ts`,
  ),
  seeds,
  property: () => {
    const region = { guestAddress: 0, size: MEMORY_BYTES, userAddress: 2 ** 40, fileOffset: 0 };
    const memory = new GuestMemory([region], [createMemory("fuzz", MEMORY_BYTES)]);
    const memories = new SharedMemories();
    const log = pino({ level: "silent" });
    return (input) => {
      const options = { heads: 2, mode: { width: 1280, height: 800 } };
      const device = new GpuDevice(options, memories, new GuestWarnings(log));
      device.setMemory(memory);
      const revoked = new Set<number>();
      device.setReader({
        revoke: (_resource, { generation }) => {
          assert(!revoked.has(generation), "a backing is revoked twice");
          revoked.add(generation);
          return undefined;
        },
        scanoutChanged: () => undefined,
        damaged: () => undefined,
        cursorImageChanged: () => undefined,
        cursorMoved: () => undefined,
      });
      for (const { ring, command } of commands(input)) {
        const { response } = ring === 0 ? device.control(command) : device.cursor(command);
        const type = response.readUInt32LE(0);
        assert(type >= FIRST_RESPONSE && type <= LAST_ERROR, `response 0x${type.toString(16)}`);
        check(device, revoked);
      }
      device.reset();
      for (const { resource } of device.scanouts) assert.equal(resource, 0);
    };
  },
};

function check(device: GpuDevice, revoked: ReadonlySet<number>): void {
  for (const { resource: id, rectangle } of device.scanouts) {
    if (id === 0) continue;
    const resource = device.resource(id);
    assert(resource !== undefined, "a head shows what does not exist");
    assert(
      rectangle.x + rectangle.width <= resource.width && rectangle.y + rectangle.height <= resource.height,
    );
    if (resource.backing === undefined) continue;
    assert(!revoked.has(resource.backing.generation), "a revoked backing is shown");
    for (const { offset, length } of resource.backing.extents) {
      assert(offset >= 0 && length > 0 && offset + length <= MEMORY_BYTES, "an extent outside the memory");
    }
  }
}
