/**
 * The control socket of a relay: `vsockenc vm` asks there what VMs do, and has the configuration read again.
 *
 * Only the relay's own user and root may connect. Requests are answered in order; the socket changes no file: who may edit the
 * configuration is the file system's matter.
 */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { errorText } from "../../common/error-text.ts";
import { limitLines } from "../../common/log-limit.ts";
import { Channel, ChannelError } from "../native/channel.ts";
import { connectUnix, type FdListener, listenForUsers, SocketError } from "../native/listener.ts";
import { VM_STATES } from "./vm-state.ts";

/** Connections at one time. */
export const MAX_CONTROL_CLIENTS = 16;
/** Of one client, that wait for their answers. */
export const MAX_CONTROL_REQUESTS = 16;

export const controlRequest = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("list") }),
  z.strictObject({ type: z.literal("reload") }),
]);
export type ControlRequest = z.infer<typeof controlRequest>;

const vmReport = z.strictObject({
  name: z.string(),
  state: z.enum(VM_STATES),
  /** What is wrong, and what to do about it. */
  fault: z.string().optional(),
  /** The VM's sockets, and how many are connected to each. */
  links: z.array(z.strictObject({ name: z.string(), connections: z.int() })),
});

export const controlAnswer = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("vms"),
    /** The configuration file. */
    file: z.string(),
    /** The viewer's address, with its token. */
    viewer: z.string().optional(),
    vms: z.array(vmReport),
  }),
  z.strictObject({
    type: z.literal("applied"),
    closed: z.array(z.string()),
    opened: z.array(z.string()),
    later: z.array(z.string()),
  }),
  /** The request could not be fulfilled, and nothing has changed. */
  z.strictObject({ type: z.literal("failed"), text: z.string() }),
]);
export type ControlAnswer = z.infer<typeof controlAnswer>;

/** Where the socket is: in the folder that the service manager, or the user's session, has for it; undefined without one. */
export function controlPath(environment: NodeJS.ProcessEnv): string | undefined {
  const [service] = environment["RUNTIME_DIRECTORY"]?.split(":") ?? [];
  const session = environment["XDG_RUNTIME_DIR"];
  if (service) return join(service, "control.sock");
  return session ? join(session, "vsockenc", "control.sock") : undefined;
}

export class ControlServer {
  readonly #answer: (request: ControlRequest) => Promise<ControlAnswer>;
  readonly #log: Logger;
  readonly #listener: FdListener;
  readonly #clients = new Set<Channel<ControlRequest, ControlAnswer>>();

  private constructor(
    path: string,
    answer: (request: ControlRequest) => Promise<ControlAnswer>,
    log: Logger,
  ) {
    this.#answer = answer;
    this.#log = limitLines(log);
    this.#listener = listenForUsers(path, [], {
      onConnection: (fd) => this.#accept(fd),
      onRefused: (user) => this.#log.warn({ user }, "rejected a user without access to the control socket"),
    });
  }

  /** Listens; undefined, with the reason in the log, where that is impossible: the relay serves without. */
  static open(
    path: string,
    answer: (request: ControlRequest) => Promise<ControlAnswer>,
    log: Logger,
  ): ControlServer | undefined {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      return new ControlServer(path, answer, log);
    } catch (error) {
      log.warn({ reason: errorText(error) }, "no control socket: `vsockenc vm` does not reach this relay");
      return undefined;
    }
  }

  close(): void {
    this.#listener.close();
    for (const client of [...this.#clients]) client.close();
  }

  #accept(fd: number): void {
    let work = Promise.resolve();
    let waiting = 0;
    const client = new Channel<ControlRequest, ControlAnswer>(
      fd,
      controlRequest,
      {
        onMessage: ({ message }) => {
          waiting += 1;
          if (waiting > MAX_CONTROL_REQUESTS) throw new ChannelError(`${waiting} requests wait`);
          work = work.then(async () => {
            client.send(await this.#perform(message));
            waiting -= 1;
          });
        },
        onClose: (error) => {
          this.#clients.delete(client);
          if (error !== undefined) this.#log.warn({ reason: error.message }, "disconnected a control client");
        },
      },
      0,
    );
    this.#clients.add(client);
    if (this.#clients.size > MAX_CONTROL_CLIENTS)
      client.close(new ChannelError(`${this.#clients.size} are connected`));
  }

  async #perform(request: ControlRequest): Promise<ControlAnswer> {
    try {
      return await this.#answer(request);
    } catch (error) {
      return { type: "failed", text: errorText(error) };
    }
  }
}

/** How long a relay may take to answer. */
const ANSWER_MS = 10_000;

/** Asks once. @throws SocketError if no relay answers */
export async function askControl(path: string, request: ControlRequest): Promise<ControlAnswer> {
  const fd = connectUnix(path);
  let timer: NodeJS.Timeout | undefined;
  const asked = new Promise<ControlAnswer>((resolve, reject) => {
    const channel = new Channel<ControlAnswer, ControlRequest>(fd, controlAnswer, {
      onMessage: ({ message }) => {
        resolve(message);
        channel.close();
      },
      onClose: (error) =>
        reject(error ?? new SocketError(`${path} closed without an answer: is the relay stopping?`)),
    });
    const late = (): void => channel.close(new SocketError(`${path} does not answer: is the relay stopped?`));
    timer = setTimeout(late, ANSWER_MS);
    channel.send(request);
  });
  return await asked.finally(() => clearTimeout(timer));
}
