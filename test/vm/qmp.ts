/** A client for QEMU's machine protocol (QMP): one JSON value a line, over a UNIX socket. */
import { EventEmitter } from "node:events";
import { connect, type Socket } from "node:net";
import { HANG_MS } from "../support/hang.ts";
import { QmpError, VmTimeoutError } from "./errors.ts";
import { onLines, within } from "./wait.ts";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

/** An asynchronous event, e.g. {event: "RESET"}. */
export interface QmpEvent {
  event: string;
  data: JsonObject;
}

interface Pending {
  readonly resolve: (value: Json) => void;
  readonly reject: (error: Error) => void;
}

/** Emits "event" with a QmpEvent, and "close". */
export class QmpClient extends EventEmitter<{ event: [QmpEvent]; close: [] }> {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed = false;
  #greeted: () => void = () => {};

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    onLines(socket, (line) => this.#receive(line));
    socket.once("close", () => this.#close());
  }

  /** Connects, waits for the greeting and leaves negotiation mode. */
  static async connect(path: string, timeoutMs = HANG_MS): Promise<QmpClient> {
    const client = new QmpClient(connect(path));
    const greeting = new Promise<void>((resolve, reject) => {
      client.#greeted = resolve;
      client.once("close", () => reject(new QmpError(`No QMP connection on ${path}.`)));
    });
    try {
      const late = () => new VmTimeoutError(`No QMP greeting on ${path} within ${timeoutMs / 1000} s.`);
      await within(greeting, timeoutMs, late);
      await client.execute("qmp_capabilities", {}, timeoutMs);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Runs one command and returns its "return" value. */
  async execute(command: string, args: JsonObject = {}, timeoutMs = HANG_MS): Promise<Json> {
    if (this.#closed) throw new QmpError(`${command}: the connection to QEMU is closed.`);
    const id = this.#nextId++;
    const answer = new Promise<Json>((resolve, reject) => {
      const named = ({ message }: Error): void => reject(new QmpError(`QEMU: ${command}: ${message}`));
      this.#pending.set(id, { resolve, reject: named });
    });
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    const late = () => new VmTimeoutError(`QEMU did not answer ${command} within ${timeoutMs / 1000} s.`);
    return await within(answer, timeoutMs, late).finally(() => this.#pending.delete(id));
  }

  /** The next event of that name. */
  async waitForEvent(name: string, timeoutMs = HANG_MS): Promise<QmpEvent> {
    const ended = new AbortController();
    const arrived = new Promise<QmpEvent>((resolve, reject) => {
      const onEvent = (event: QmpEvent): void => {
        if (event.event === name) resolve(event);
      };
      const onClose = (): void => reject(new QmpError(`QEMU closed its connection before it sent ${name}.`));
      this.on("event", onEvent).on("close", onClose);
      ended.signal.addEventListener("abort", () => this.off("event", onEvent).off("close", onClose));
    });
    const late = () => new VmTimeoutError(`QEMU sent no ${name} within ${timeoutMs / 1000} s.`);
    return await within(arrived, timeoutMs, late).finally(() => ended.abort());
  }

  close(): void {
    this.#socket.destroy();
    this.#close();
  }

  #receive(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.close();
      return;
    }
    if (!isObject(message)) return;
    const { event, data, id, error } = message;
    if ("QMP" in message) this.#greeted();
    else if (typeof event === "string") this.emit("event", { event, data: isObject(data) ? data : {} });
    else if (typeof id !== "number") return;
    else if (isObject(error)) this.#pending.get(id)?.reject(new Error(String(error["desc"])));
    else this.#pending.get(id)?.resolve(message["return"] ?? null);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { reject } of this.#pending.values()) reject(new Error("the connection was closed"));
    this.emit("close");
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
