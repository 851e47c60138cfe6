/** `npm run fuzz -- TARGET SECONDS`: fuzzes one target for that long. See docs/fuzzing.md. */
import { buildTargets, FuzzError, fuzz, TARGETS } from "./fuzz.ts";

const [name, time] = process.argv.slice(2);
const target = TARGETS.find((known) => known === name);
const seconds = Number(time ?? 60);
if (target === undefined || !Number.isInteger(seconds) || seconds <= 0) {
  console.error(`Usage: npm run fuzz -- ${TARGETS.join("|")} SECONDS`);
  process.exitCode = 2;
} else {
  try {
    buildTargets(true);
    fuzz(target, { seconds });
  } catch (error) {
    if (!(error instanceof FuzzError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
