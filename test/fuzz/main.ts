/** `npm run fuzz -- [--target NAME…] [--hours N | --runs N]`: see docs/fuzzing.md. */
import { Command, InvalidArgumentError } from "commander";
import { buildTargets, FuzzError, fuzz } from "./fuzz.ts";
import { TARGETS } from "./targets.ts";

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}

function targetName(name: string, names: readonly string[] = []): string[] {
  if (!TARGETS.has(name))
    throw new InvalidArgumentError(`It must be one of ${[...TARGETS.keys()].join(", ")}.`);
  return [...names, name];
}

interface Options {
  readonly list?: boolean;
  readonly target?: readonly string[];
  readonly hours?: number;
  readonly runs?: number;
  readonly seed: number;
  readonly keep?: boolean;
}

const DEFAULT_HOURS = 1 / 60;

async function fuzzAll({
  list,
  target = [...TARGETS.keys()],
  hours,
  runs,
  seed,
  keep = false,
}: Options): Promise<void> {
  if (list) {
    for (const [name, { kind, what }] of TARGETS)
      console.log(`${name.padEnd(14)} ${kind.padEnd(11)} ${what}`);
    return;
  }
  if (target.some((name) => TARGETS.get(name)?.kind === "native")) await buildTargets(true);
  const seconds = hours ?? (runs === undefined ? DEFAULT_HOURS : undefined);
  const limits = {
    runs: runs && Math.ceil(runs),
    seconds: seconds && Math.ceil((seconds * 3600) / target.length),
  };
  for (const name of target) {
    console.log(`${name}: ${TARGETS.get(name)?.what}`);
    const result = await fuzz(name, { ...limits, seed, keep, show: true });
    const time = `${result.seconds.toFixed(0)} s`;
    console.log(`${name}: ${result.runs} runs in ${time}, corpus ${result.corpus}, ran ${result.coverage}`);
  }
}

const program = new Command("npm run fuzz --")
  .description("Fuzzes decoders and devices; without options, all of them for a minute together.")
  .option("--list", "show the targets")
  .option("--target <name>", "only this target; may be repeated", targetName)
  .option("--hours <number>", "for so long, divided among the targets", positive)
  .option("--runs <number>", "so many inputs of each target", positive)
  .option("--seed <number>", "decides the inputs", positive, 1)
  .option("--keep", "write a small corpus with this coverage to test/fuzz/corpus")
  .action(async (options: Options) => {
    try {
      await fuzzAll(options);
    } catch (error) {
      if (!(error instanceof FuzzError)) throw error;
      console.error(error.message);
      process.exitCode = 1;
    }
  });
await program.parseAsync();
