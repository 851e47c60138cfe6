/** The QMP client against a fake QEMU. */
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { QmpError, VmTimeoutError } from "./errors.ts";
import { QmpClient } from "./qmp.ts";

const path = join(temporaryFolder(), "qmp.sock");
let server: Server;
let peer: Socket | undefined;

/** Answers every line with what `answer` gives, if anything. */
async function serve(answer: (request: { execute: string; id: number }) => object | undefined, greet = true) {
  server = createServer((socket) => {
    peer = socket;
    let rest = "";
    if (greet) {
      socket.write('{"QMP": {"version": {}, "capabilities": []}}\r\n');
    }
    socket.on("data", (data) => {
      const lines = (rest + data.toString()).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const request = JSON.parse(line) as { execute: string; id: number };
        const reply = request.execute === "qmp_capabilities" ? { return: {} } : answer(request);
        if (reply !== undefined) {
          socket.write(`${JSON.stringify({ ...reply, id: request.id })}\r\n`);
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
}

afterEach(async () => {
  peer?.destroy();
  await new Promise((resolve) => server.close(resolve));
});

it("returns a result, and rejects with the error of QEMU", async () => {
  await serve((request) =>
    request.execute === "query-status"
      ? { return: { status: "running" } }
      : { error: { class: "CommandNotFound", desc: "no such command" } },
  );
  const qmp = await QmpClient.connect(path);
  expect(await qmp.execute("query-status")).toEqual({ status: "running" });
  await expect(qmp.execute("fly")).rejects.toThrow("QEMU: fly: no such command");
  qmp.close();
});

it("matches answers that come out of order, and delivers events between them", async () => {
  const ids: number[] = [];
  await serve((request) => {
    ids.push(request.id);
    if (ids.length === 2) {
      peer?.write('{"event": "RESET", "data": {"guest": true}, "timestamp": {}}\n');
      for (const id of ids.reverse()) {
        peer?.write(`{"return": ${id}, "id": ${id}}\n`);
      }
    }
    return undefined;
  });
  const qmp = await QmpClient.connect(path);
  const event = qmp.waitForEvent("RESET");
  const [a, b] = await Promise.all([qmp.execute("a"), qmp.execute("b")]);
  expect([a, b]).toEqual([2, 3]);
  expect(await event).toEqual({ event: "RESET", data: { guest: true } });
  qmp.close();
});

it("rejects after the time-out", async () => {
  await serve(() => undefined);
  const qmp = await QmpClient.connect(path);
  await expect(qmp.execute("stop", {}, 30)).rejects.toBeInstanceOf(VmTimeoutError);
  await expect(qmp.waitForEvent("STOP", 30)).rejects.toBeInstanceOf(VmTimeoutError);
  qmp.close();
});

it("fails when there is no greeting", async () => {
  await serve(() => undefined, false);
  await expect(QmpClient.connect(path, 30)).rejects.toBeInstanceOf(VmTimeoutError);
});

it("rejects pending commands when QEMU closes", async () => {
  await serve(() => {
    peer?.destroy();
    return undefined;
  });
  const qmp = await QmpClient.connect(path);
  await expect(qmp.execute("quit")).rejects.toBeInstanceOf(QmpError);
  await expect(qmp.execute("cont")).rejects.toBeInstanceOf(QmpError);
});
