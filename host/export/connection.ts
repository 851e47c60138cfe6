/** The exporter's end of one relay's connection: what was sent to it and what it holds. */
import { type ExportMessage, ExportProtocolError, type Extent } from "../../proto/export.ts";
import { LIMITS } from "../../proto/limits.ts";
import { ExportChannel } from "./channel.ts";
import {
  type ExportableResource,
  type ExportSource,
  type LookUp,
  NOT_SHAREABLE,
  type Refusal,
} from "./source.ts";

type AcquireMessage = Extract<ExportMessage, { type: "acquire" }>;

/** These exporters have memory alone. */
const NOTHING_RENDERED: LookUp = {
  kind: "refused",
  refusal: {
    code: "RESOURCE_UNREADABLE",
    text: "this VM's GPU renders nothing, so all pixels are in pages: attach with content PAGES",
  },
};

/** What was found, with the extents that the first `bytes` lie in; 0: all. */
function needed(found: LookUp, bytes: number): LookUp {
  if (found.kind === "refused" || bytes === 0) return found;
  const { backing } = found.resource;
  let covered = 0;
  const beyond = backing.extents.findIndex(({ length }) => {
    covered += length;
    return covered >= bytes;
  });
  if (beyond < 0) return found;
  const extents = backing.extents.slice(0, beyond + 1);
  return { kind: "found", resource: { ...found.resource, backing: { ...backing, extents } } };
}

/** A resource whose extents the relay has: to describe 16,384 again would take milliseconds. */
const undescribed = ({ backing, ...resource }: ExportableResource): LookUp => ({
  kind: "found",
  resource: { ...resource, backing: { generation: backing.generation, extents: [] } },
});

/** Unsent bytes after which the relay counts as dead. */
export const MAX_UNSENT_ANSWER_BYTES = 4 << 20;
/** Received in a turn: a few requests, as an answer may take milliseconds. */
export const EXPORTER_TURN_BYTES = 64;

export interface ExportConnectionEvents {
  /** The relay has said hello. */
  onGreeted(): void;
  /** The relay has not released a revoked resource within REVOKE_HOLD_MS. */
  onLate(resource: number): void;
  onClose(error?: Error): void;
}

export class ExportConnection {
  readonly #source: ExportSource;
  readonly #events: ExportConnectionEvents;
  readonly #channel: ExportChannel;
  /** Generations that the relay may be reading, those revoked but not yet released included. */
  readonly #held = new Set<number>();
  /** Those whose release is overdue. */
  readonly #late = new Set<number>();
  /** Ends the wait for a revoked generation, by generation. */
  readonly #waits = new Map<number, () => void>();
  /** Memories whose descriptor was sent. */
  readonly #sentMemories = new Set<number>();
  #unanswered = 0;
  #greeted = false;
  #closed = false;

  constructor(fd: number, source: ExportSource, events: ExportConnectionEvents) {
    this.#source = source;
    this.#events = events;
    this.#channel = new ExportChannel(
      fd,
      {
        maxMessageBytes: LIMITS.MAX_EXPORT_REQUEST_BYTES,
        maxDescriptors: 0,
        maxQueuedBytes: MAX_UNSENT_ANSWER_BYTES,
        turnBytes: EXPORTER_TURN_BYTES,
      },
      {
        onMessage: (message) => this.#receive(message),
        onClose: (error) => {
          this.#closed = true;
          for (const endWait of [...this.#waits.values()]) endWait();
          this.#events.onClose(error);
        },
      },
    );
  }

  /** Whether the relay has said hello. */
  get greeted(): boolean {
    return this.#greeted;
  }

  /** How many resources the relay may be reading. */
  get held(): number {
    return this.#held.size;
  }

  /** Sends ExportHello, what the heads show, and their pointers. */
  open(): void {
    this.send({ type: "hello", version: LIMITS.EXPORT_VERSION, software: this.#source.software });
    for (const { head, resource, rectangle } of this.#source.scanouts()) {
      this.send({ type: "scanout", head, resource, rectangle });
    }
    for (const { head, x, y, image } of this.#source.cursors?.() ?? []) {
      this.send({ type: "cursorPosition", head, x, y });
      this.send({ type: "cursorImage", head, image });
    }
  }

  /**
   * Asks the relay to stop reading.
   *
   * @returns resolves when the relay has released or closed, or after REVOKE_HOLD_MS; undefined: not to be waited for,
   * because the relay does not hold the generation, or has not yet answered an earlier Revoke in time
   */
  revoke(resource: number, generation: number): Promise<void> | undefined {
    if (!this.#held.has(generation)) return undefined;
    const isWaitedFor = this.#late.size === 0;
    this.send({ type: "revoke", resource, generation });
    if (!isWaitedFor || this.#closed) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#late.add(generation);
        this.#events.onLate(resource);
        endWait();
      }, LIMITS.REVOKE_HOLD_MS);
      const endWait = () => {
        clearTimeout(timer);
        this.#waits.delete(generation);
        resolve();
      };
      this.#waits.set(generation, endWait);
    });
  }

  send(message: ExportMessage): void {
    this.#channel.send(message);
  }

  close(): void {
    this.#channel.close();
  }

  #receive(message: ExportMessage): void {
    if (message.type === "hello") this.#welcome(message.version, message.software);
    else if (this.#greeted) this.#perform(message);
    else throw new ExportProtocolError("the relay sends no Hello: it has an older version, update it");
  }

  #welcome(version: number, software: string): void {
    if (version !== LIMITS.EXPORT_VERSION) {
      throw new ExportProtocolError(
        `the relay (${software}) has protocol version ${version}, this exporter ${LIMITS.EXPORT_VERSION}: update the older one`,
      );
    }
    this.#greeted = true;
    this.#events.onGreeted();
  }

  #perform(message: ExportMessage): void {
    switch (message.type) {
      case "acquire":
        this.#acquire(message);
        break;
      case "release":
        this.#held.delete(message.generation);
        this.#late.delete(message.generation);
        this.#waits.get(message.generation)?.();
        break;
      default:
        throw new ExportProtocolError(`the relay sent ${message.type}, which only an exporter sends`);
    }
  }

  /** Answers from the newest state: the commands that the guest has queued are carried out first. */
  #acquire(message: AcquireMessage): void {
    if (this.#unanswered >= LIMITS.MAX_ACQUIRED_RESOURCES) {
      throw new ExportProtocolError(`more than ${LIMITS.MAX_ACQUIRED_RESOURCES} requests are unanswered`);
    }
    this.#unanswered++;
    this.#source.whenSettled(() => {
      this.#unanswered--;
      if (!this.#closed) this.#answer(message);
    });
  }

  #answer({ request, resource: id, content, bytes, known }: AcquireMessage): void {
    const looked = content === "RENDERED" ? NOTHING_RENDERED : this.#source.lookUp(id);
    const isKnown = looked.kind === "found" && looked.resource.backing.generation === known;
    const found = this.#check(id, isKnown ? undescribed(looked.resource) : needed(looked, bytes));
    if (found.kind === "refused") {
      this.send({ type: "refused", request, resource: id, ...found.refusal });
      return;
    }
    const { width, height, format, backing } = found.resource;
    const { generation, extents, surface } = backing;
    this.#sendMemories(extents);
    this.#held.add(generation);
    this.send({
      type: "acquired",
      ...{ request, resource: id, generation, width, height, format, extents, surface, known: isKnown },
    });
  }

  /** Refuses what the exporter has found if the protocol or this connection does not allow it. */
  #check(id: number, found: LookUp): LookUp {
    if (found.kind === "refused") return found;
    const { generation, extents } = found.resource.backing;
    const refuse = (code: Refusal["code"], text: string): LookUp => ({
      kind: "refused",
      refusal: { code, text },
    });
    if (extents.length > LIMITS.MAX_EXTENTS) {
      const text = `resource ${id} lies in ${extents.length} runs of memory, at most ${LIMITS.MAX_EXTENTS}`;
      return refuse("RESOURCE_NOT_SHAREABLE", text);
    }
    if (extents.some(({ memory }) => memory === NOT_SHAREABLE)) {
      const text = `resource ${id} lies in a memory beyond the ${LIMITS.MAX_MEMORIES} that are exported`;
      return refuse("RESOURCE_NOT_SHAREABLE", text);
    }
    if (this.#held.size >= LIMITS.MAX_ACQUIRED_RESOURCES && !this.#held.has(generation)) {
      const text = `more than ${LIMITS.MAX_ACQUIRED_RESOURCES} resources are acquired: release some`;
      return refuse("TOO_MANY_ACQUIRED", text);
    }
    return found;
  }

  #sendMemories(extents: readonly Extent[]): void {
    for (const id of new Set(extents.map(({ memory }) => memory))) {
      const memory = this.#source.memory(id);
      if (memory === undefined || this.#sentMemories.has(id)) continue;
      this.#sentMemories.add(id);
      this.send({ type: "memory", memory: id, size: memory.size, descriptor: memory.descriptor });
    }
  }
}
