/** `npm run vm -- [options] -- COMMAND`: boots a test guest, runs COMMAND in it, and forwards its output and status. */
import { mkdirSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { errorText } from "../../common/error-text.ts";
import { HangError } from "../support/until.ts";
import { wholeNumber } from "../support/whole-number.ts";
import { VmTimeoutError } from "./errors.ts";
import { DESKTOPS, SUITES } from "./image.ts";
import { type ForwardedPort, GPU_KINDS } from "./qemu-args.ts";
import { shellText } from "./shell-text.ts";
import { Vm, type VmOptions } from "./vm.ts";

/** As of timeout(1): the command took too long; it could not be run. */
const STATUS_TIMEOUT = 124;
const STATUS_HARNESS = 125;

interface Options extends VmOptions {
  readonly in?: string;
  readonly out?: string;
  readonly memory: number;
  readonly timeout: number;
  readonly qemuArg: string[];
}

const positive = wholeNumber(1, 1_000_000);

function forwardedPort(text: string): ForwardedPort {
  const [, host, guest] = /^(\d{1,5}):(\d{1,5})$/.exec(text) ?? [];
  const ports = { host: Number(host), guest: Number(guest) };
  if (Object.values(ports).every((port) => port >= 1 && port <= 65_535)) return ports;
  throw new InvalidArgumentError("Expected HOST:GUEST, two TCP ports.");
}

const repeated = (text: string, all: string[]): string[] => [...all, text];

async function run(words: string[], options: Options): Promise<number> {
  const { in: inDir, out: outDir, memory: memoryMiB, timeout, qemuArg: qemuArgs, ...more } = options;
  const log = (line: string): void => void process.stderr.write(`[vm] ${line}\n`);
  if (outDir !== undefined) mkdirSync(outDir, { recursive: true });
  const vm = await Vm.boot({ ...more, memoryMiB, qemuArgs, inDir, outDir, log });
  try {
    const result = await vm.run(shellText(words), {
      timeoutMs: timeout * 1000,
      onOutput: (stream, data) => void process[stream].write(data),
    });
    return result.status;
  } finally {
    await vm.shutdown();
  }
}

const program = new Command("npm run vm --")
  .description(
    "Boot a real Debian guest under QEMU with the vsockenc GPU, port and relay, and run COMMAND in it.",
  )
  .argument("<command...>", "after --: one word is a shell line, several are a program and its arguments")
  .addOption(
    new Option("--suite <name>", "the guest's Debian (bookworm: with --no-payload)")
      .choices(SUITES)
      .default("trixie"),
  )
  .addOption(new Option("--desktop <kind>", "put a desktop on the screen (Debian trixie)").choices(DESKTOPS))
  .addOption(new Option("--gpu <kind>", "the guest's GPU").choices(GPU_KINDS).default("vsockenc"))
  .option("--in <dir>", "host folder to mount at /in, read-only")
  .option("--out <dir>", "host folder to mount at /out, created if missing")
  .option("--memory <MiB>", "the guest's memory", positive, 1024)
  .option("--timeout <seconds>", `for COMMAND (exit status ${STATUS_TIMEOUT})`, positive, 600)
  .option("--relay-config <file>", "TOML put before the relay's section for this guest")
  .option("--no-relay", "do not start a relay")
  .option("--no-payload", "boot without the project's software in the guest")
  .option("--heads <number>", "outputs of the GPU", positive, 1)
  .option("--mode <WIDTHxHEIGHT>", "size of the first output")
  .option(
    "--forward <HOST:GUEST>",
    "forward a TCP port of 127.0.0.1 to the guest; repeatable",
    (text, all: ForwardedPort[]) => [...all, forwardedPort(text)],
    [],
  )
  .option("--qemu-arg <arg>", "additional argument for QEMU; repeatable", repeated, [])
  .option("--verbose", "also show the output of QEMU, GPU, relay and guest kernel")
  .addHelpText(
    "after",
    `\nThe exit status is COMMAND's, or ${STATUS_HARNESS} if it could not be run.
Example: npm run vm -- --gpu stock --no-relay --out result -- 'uname -a | tee /out/kernel'`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : STATUS_HARNESS))
  .action(async (words: string[], options: Options) => {
    try {
      process.exitCode = await run(words, options);
    } catch (error) {
      process.stderr.write(`[vm] ${errorText(error)}\n`);
      const late = error instanceof VmTimeoutError || error instanceof HangError;
      process.exitCode = late ? STATUS_TIMEOUT : STATUS_HARNESS;
    }
  });

await program.parseAsync();
