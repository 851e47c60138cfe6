/**
 * The baseline of a relay's latency: a Node process on the same kind of link that only answers every request with as many
 * bytes as a relay would.
 *
 *     echo.ts SOCKET REQUEST_BYTES ANSWER_FILE
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";

const [socketPath = "", requestBytes = "", answerFile = ""] = process.argv.slice(2);
const size = Number(requestBytes);
const answer = readFileSync(answerFile);
let received = 0;

const socket = connect(socketPath);
socket.on("data", (chunk) => {
  for (received += chunk.length; received >= size; received -= size) socket.write(answer);
});
socket.on("close", () => process.exit());
