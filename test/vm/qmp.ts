/**
 * A client for QEMU's machine protocol (QMP): one JSON value a line, over a UNIX socket.
 */
import { EventEmitter } from "node:events";
import { connect, type Socket } from "node:net";
import { QmpError, VmTimeoutError } from "./errors.ts";
import { onLines } from "./lines.ts";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

/** An asynchronous notice, e.g. {event: "RESET"}. */
export interface QmpEvent {
  event: string;
  data: JsonObject;
}

interface Pending {
  command: string;
  resolve: (value: Json) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

const DEFAULT_TIMEOUT_MS = 10_000;

/** Emits "event" with a QmpEvent, and "close". */
export class QmpClient extends EventEmitter<{ event: [QmpEvent]; close: [] }> {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed = false;
  #greeted: (() => void) | undefined;

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    onLines(socket, (line) => this.#receive(line));
    socket.once("close", () => this.#close());
  }

  /** Connects, waits for the greeting and leaves negotiation mode. */
  static async connect(path: string, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<QmpClient> {
    const socket = connect(path);
    const client = new QmpClient(socket);
    try {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new VmTimeoutError(`No QMP greeting on ${path} within ${timeoutMs / 1000} s.`)),
          timeoutMs,
        );
        client.#greeted = () => {
          clearTimeout(timer);
          resolve();
        };
        socket.once("close", () => {
          clearTimeout(timer);
          reject(new QmpError(`No QMP connection on ${path}.`));
        });
      });
      await client.execute("qmp_capabilities", {}, timeoutMs);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Runs one command; gives its "return" value. */
  execute(command: string, args: JsonObject = {}, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<Json> {
    if (this.#closed) {
      return Promise.reject(new QmpError(`${command}: the connection to QEMU is closed.`));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new VmTimeoutError(`QEMU did not answer ${command} within ${timeoutMs / 1000} s.`));
      }, timeoutMs);
      this.#pending.set(id, { command, resolve, reject, timer });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  /** The next event of that name. */
  waitForEvent(name: string, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<QmpEvent> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.off("event", listener);
        this.off("close", closed);
      };
      const timer = setTimeout(() => {
        finish();
        reject(new VmTimeoutError(`QEMU sent no ${name} within ${timeoutMs / 1000} s.`));
      }, timeoutMs);
      const listener = (event: QmpEvent): void => {
        if (event.event === name) {
          finish();
          resolve(event);
        }
      };
      const closed = (): void => {
        finish();
        reject(new QmpError(`QEMU closed its connection before it sent ${name}.`));
      };
      this.on("event", listener);
      this.on("close", closed);
    });
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
    if (!isObject(message)) {
      return;
    }
    if ("QMP" in message) {
      this.#greeted?.();
    } else if (typeof message["event"] === "string") {
      const data = message["data"];
      this.emit("event", { event: message["event"], data: isObject(data) ? data : {} });
    } else if (typeof message["id"] === "number") {
      this.#answer(message["id"], message);
    }
  }

  #answer(id: number, message: JsonObject): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) {
      return; // it came after the time-out
    }
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    const error = message["error"];
    if (isObject(error)) {
      pending.reject(new QmpError(`QEMU refused ${pending.command}: ${String(error["desc"])}`));
    } else {
      pending.resolve(message["return"] ?? null);
    }
  }

  #close(): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(new QmpError(`QEMU closed its connection during ${pending.command}.`));
    }
    this.#pending.clear();
    this.emit("close");
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
