/**
 * An ordinary stop ends with status 0. A report of the poll thread that Node delivers while it closes its environment,
 * when no JavaScript can run any more, must not end the process by an uncaught C++ exception.
 */
import { spawnSync } from "node:child_process";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../common/package-root.ts";
import { expectOrderlyStops, startProgram } from "../../support/program.ts";
import { until } from "../../support/until.ts";

/** GET_FEATURES of vhost-user, which the process answers. */
const GET_FEATURES = Buffer.from([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);

/** A front end that asks again after every answer. Resolves with the first of them. */
async function busyFrontEnd(path: string): Promise<Socket> {
  const socket = connect(path);
  socket.on("error", () => undefined);
  const ask = () => void socket.write(GET_FEATURES);
  socket.once("connect", ask);
  await new Promise((resolve) => {
    socket.on("data", () => {
      ask();
      resolve(undefined);
    });
  });
  return socket;
}

it("drops a report that is delivered while the environment closes", () => {
  const addon = join(process.env["VSOCKENC_ADDONS"] ?? join(packageRoot, "build/addon/Release"), "os.node");
  // Standard input is at its end, so it is readable; the poll thread reports it while this thread waits for a program.
  // Nothing keeps the event loop running then, so the report is delivered when the environment closes.
  const script = `
    const os = require(${JSON.stringify(addon)});
    os.startPoller(() => undefined);
    os.armWatch(1, 0, os.pollRead);
    require("node:child_process").execFileSync("true");
    os.removeWatch(1);`;
  const { status, signal, stderr } = spawnSync(process.execPath, ["-e", script], {
    input: "",
    encoding: "utf8",
  });
  expect({ status, signal }, stderr).toEqual({ status: 0, signal: null });
});

it.each([
  ["idle", false],
  ["with traffic", true],
])("stops with status 0 twenty times: %s", async (_, isBusy) => {
  await expectOrderlyStops(async (folder) => {
    const paths = { gpu: join(folder, "gpu"), export: join(folder, "export") };
    const program = startProgram("gpu", "--socket-path", paths.gpu, "--export-path", paths.export);
    await until(() => program.output.includes("waiting for QEMU"), "the sockets");
    if (isBusy) await busyFrontEnd(paths.gpu);
    return program;
  });
});
