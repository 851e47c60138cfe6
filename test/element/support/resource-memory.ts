/**
 * The host's side of test/guest/fake-gpu.c: memory for a program on this machine that acts as the guest, passed over a
 * UNIX socket, and the exporter that serves the same memory to a relay.
 *
 * Unlike in the memfd exporter, each resource has its own memory, because the program identifies a buffer by the inode
 * of its descriptor, like a DmaBuf. All have the same size, so any free one serves the next request.
 */
import { pino } from "pino";
import { ExportServer } from "../../../host/export/server.ts";
import type { ExportSource, LookUp, SharedMemory } from "../../../host/export/source.ts";
import { FdSocket } from "../../../host/native/fd-socket.ts";
import { FdListener } from "../../../host/native/listener.ts";
import { closeDescriptor, createMemory, reopenReadOnly } from "../../../host/native/os-addon.ts";
import { VIRTIO_BGRX } from "../../../proto/formats.ts";
import { LIMITS } from "../../../proto/limits.ts";

/** Of every resource; untouched pages take no memory. */
const RESOURCE_BYTES = 16 << 20;

/** `writable` is the descriptor that the program maps, `owner` the connection that has it. */
interface Resource {
  readonly memory: SharedMemory;
  readonly writable: number;
  owner: FdSocket | undefined;
}

export class ResourceMemory {
  readonly #resources: Resource[] = [];
  readonly #connections = new Set<FdSocket>();
  readonly #listener: FdListener;
  readonly #server: ExportServer;

  /** Programs ask for memory at `allocationPath`, and relays read it at `exportPath`. @throws SocketError */
  constructor(allocationPath: string, exportPath: string) {
    const source: ExportSource = {
      software: "test memory",
      lookUp: (id) => this.#lookUp(id),
      memory: (id) => this.#resources[id - 1]?.memory,
      scanouts: () => [],
      whenSettled: (listener) => listener(),
    };
    this.#server = new ExportServer({ path: exportPath, users: [] }, source, pino({ level: "silent" }));
    this.#listener = FdListener.listen(allocationPath, (fd) => this.#accept(fd));
  }

  close(): void {
    this.#listener.close();
    for (const connection of [...this.#connections]) connection.close();
    this.#server.close();
    for (const { memory, writable } of this.#resources.splice(0)) {
      closeDescriptor(memory.descriptor);
      closeDescriptor(writable);
    }
  }

  #accept(fd: number): void {
    const request = Buffer.alloc(8);
    let filled = 0;
    const socket = new FdSocket(
      fd,
      {
        onReadable: () => {
          const received = socket.receive(request, filled, request.length - filled);
          if (received.kind === "end") socket.close();
          if (received.kind !== "bytes") return;
          filled += received.count;
          if (filled < request.length) return;
          filled = 0;
          this.#answer(socket, Number(request.readBigUInt64LE()));
        },
        onClose: () => {
          this.#release(socket);
          this.#connections.delete(socket);
        },
      },
      4096,
    );
    this.#connections.add(socket);
  }

  #answer(socket: FdSocket, bytes: number): void {
    const reply = Buffer.alloc(4);
    const resource = bytes === 0 || bytes > RESOURCE_BYTES ? undefined : this.#take(socket);
    if (bytes === 0) this.#release(socket);
    reply.writeUInt32LE(resource?.memory.id ?? 0);
    socket.send(reply, resource === undefined ? [] : [resource.writable]);
  }

  #release(owner: FdSocket): void {
    for (const resource of this.#resources) if (resource.owner === owner) resource.owner = undefined;
  }

  #take(owner: FdSocket): Resource | undefined {
    const free = this.#resources.find((each) => each.owner === undefined);
    if (free !== undefined) free.owner = owner;
    const id = this.#resources.length + 1;
    if (free !== undefined || id > LIMITS.MAX_MEMORIES) return free;
    const writable = createMemory("vsockenc-test", RESOURCE_BYTES);
    const memory = { id, size: RESOURCE_BYTES, descriptor: reopenReadOnly(writable) };
    this.#resources.push({ memory, writable, owner });
    return this.#resources.at(-1);
  }

  #lookUp(id: number): LookUp {
    const resource = this.#resources[id - 1];
    if (resource === undefined) {
      return { kind: "refused", refusal: { code: "RESOURCE_UNKNOWN", text: `there is no resource ${id}` } };
    }
    const backing = { generation: id, extents: [{ memory: id, offset: 0, length: RESOURCE_BYTES }] };
    return {
      kind: "found",
      resource: { width: RESOURCE_BYTES / 4, height: 1, format: VIRTIO_BGRX, backing },
    };
  }
}
