/** `npm run vm -- [options] -- COMMAND`: boots a test guest, runs COMMAND in it, passes its output and status on. */
import { mkdirSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { errorText } from "../../common/error-text.ts";
import { VmTimeoutError } from "./errors.ts";
import { DESKTOPS, type Desktop, SUITES, type Suite } from "./image.ts";
import { type ForwardedPort, GPU_KINDS, type GpuKind } from "./qemu-args.ts";
import { shellText } from "./shell-text.ts";
import { Vm } from "./vm.ts";

/** As timeout(1) has them: the command took too long; it could not be run at all. */
const STATUS_TIMEOUT = 124;
const STATUS_HARNESS = 125;

interface Options {
  suite: Suite;
  desktop?: Desktop;
  gpu: GpuKind;
  in?: string;
  out?: string;
  memory: number;
  timeout: number;
  relayConfig?: string;
  relay: boolean;
  payload: boolean;
  heads: number;
  mode?: string;
  forward: ForwardedPort[];
  qemuArg: string[];
  verbose?: true;
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) {
    throw new InvalidArgumentError("It must be a number above 0.");
  }
  return value;
}

function wholeNumber(text: string): number {
  const value = positiveNumber(text);
  if (!Number.isInteger(value)) {
    throw new InvalidArgumentError("It must be a whole number.");
  }
  return value;
}

function forwardedPort(text: string): ForwardedPort {
  const [, host, guest] = /^(\d{1,5}):(\d{1,5})$/.exec(text) ?? [];
  const ports = { host: Number(host), guest: Number(guest) };
  if (Object.values(ports).every((port) => port >= 1 && port <= 65_535)) return ports;
  throw new InvalidArgumentError("It must be HOST:GUEST, two TCP ports.");
}

async function run(words: string[], options: Options): Promise<number> {
  const log = (line: string): void => void process.stderr.write(`[vm] ${line}\n`);
  if (options.out !== undefined) {
    mkdirSync(options.out, { recursive: true });
  }
  const vm = await Vm.boot({
    suite: options.suite,
    gpu: options.gpu,
    relay: options.relay,
    payload: options.payload,
    memoryMiB: options.memory,
    heads: options.heads,
    forward: options.forward,
    qemuArgs: options.qemuArg,
    verbose: options.verbose === true,
    log,
    ...(options.desktop === undefined ? {} : { desktop: options.desktop }),
    ...(options.mode === undefined ? {} : { mode: options.mode }),
    ...(options.in === undefined ? {} : { inDir: options.in }),
    ...(options.out === undefined ? {} : { outDir: options.out }),
    ...(options.relayConfig === undefined ? {} : { relayConfig: options.relayConfig }),
  });
  try {
    const result = await vm.run(shellText(words), {
      timeoutMs: options.timeout * 1000,
      onOutput: (stream, data) => void process[stream].write(data),
    });
    return result.status;
  } finally {
    await vm.shutdown();
  }
}

const program = new Command("npm run vm --")
  .description(
    "Boots a real Debian guest under QEMU with the vsockenc GPU, port and relay, and runs COMMAND in it.",
  )
  .argument("<command...>", "after --: one word is a shell line, several are a program and its arguments")
  .addOption(
    new Option("--suite <name>", "the guest's Debian (bookworm: with --no-payload)")
      .choices(SUITES)
      .default("trixie"),
  )
  .addOption(new Option("--desktop <kind>", "put a desktop on the screen (Debian trixie)").choices(DESKTOPS))
  .addOption(new Option("--gpu <kind>", "the guest's GPU").choices(GPU_KINDS).default("vsockenc"))
  .option("--in <dir>", "a folder of the host that appears as /in, read-only")
  .option("--out <dir>", "a folder of the host that appears as /out, made if absent")
  .option("--memory <MiB>", "the guest's memory", wholeNumber, 1024)
  .option(
    "--timeout <seconds>",
    `for COMMAND; then the exit status is ${STATUS_TIMEOUT}`,
    positiveNumber,
    600,
  )
  .option("--relay-config <file>", "TOML put before the relay's section for this guest")
  .option("--no-relay", "nothing serves the port")
  .option("--no-payload", "a guest without the project's own software")
  .option("--heads <number>", "outputs of the GPU", wholeNumber, 1)
  .option("--mode <WIDTHxHEIGHT>", "size of the first output (--gpu vsockenc)")
  .option(
    "--forward <HOST:GUEST>",
    "a TCP port of 127.0.0.1 that reaches one of the guest; repeatable",
    (text, all: ForwardedPort[]) => [...all, forwardedPort(text)],
    [],
  )
  .option(
    "--qemu-arg <arg>",
    "one more argument for QEMU; repeatable",
    (arg, all: string[]) => [...all, arg],
    [],
  )
  .option("--verbose", "also show what QEMU, GPU, relay and the guest's kernel say")
  .addHelpText(
    "after",
    `\nCOMMAND's exit status is the exit status; ${STATUS_HARNESS} means that it could not be run.
Example: npm run vm -- --gpu stock --no-relay --out result -- 'uname -a | tee /out/kernel'`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : STATUS_HARNESS))
  .action(async (words: string[], options: Options) => {
    try {
      process.exitCode = await run(words, options);
    } catch (error) {
      process.stderr.write(`[vm] ${errorText(error)}\n`);
      process.exitCode = error instanceof VmTimeoutError ? STATUS_TIMEOUT : STATUS_HARNESS;
    }
  });

await program.parseAsync();
