/**
 * The process of one attack: `attacker.ts NAME TARGET`, with TARGET as JSON. It prints "attacking" as soon as it is
 * connected, and at SIGTERM how many bytes it has sent and how many answers it got.
 *
 * What is measured is the relay's work, not the attacker's. So the attacker, once started, gives way to everything else: by
 * its policy (SCHED_IDLE: to the scheduler, its processor is free for any other task), and where the kernel shares the
 * processors between sessions, by the nice value of its session.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { ATTACKS } from "./attacks.ts";
import type { Target } from "./target.ts";

const [name = "", target = ""] = process.argv.slice(2);
const attack = ATTACKS.find((each) => each.name === name);
if (attack === undefined) throw new Error(`unknown attack ${name}`);

const tally = { bytes: 0, answers: 0 };
process.on("SIGTERM", () => {
  console.log(`sent ${tally.bytes} ${tally.answers}`);
  process.exit();
});
// Also for one that only waits.
setInterval(() => undefined, 1000);
// An attacker goes on, whatever becomes of its connections.
process.on("uncaughtException", (error) => console.log(`attacker: ${error.message}`));
await attack.start(JSON.parse(target) as Target, tally);
execFileSync("chrt", ["--all-tasks", "--idle", "--pid", "0", String(process.pid)]);
try {
  writeFileSync("/proc/self/autogroup", String(constants.priority.PRIORITY_LOW));
} catch {
  // A kernel without autogroups shares the processors between threads, by their policies.
}
console.log("attacking");
