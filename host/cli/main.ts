#!/usr/bin/env node
/** The command `vsockenc`: one file of this folder for each subcommand. */
import { Command } from "commander";
import { packageVersion } from "../package-root.ts";
import { gpuCommand } from "./gpu.ts";
import { hostCommand } from "./host.ts";
import { qemuArgsCommand } from "./qemu-args.ts";
import { relayCommand } from "./relay.ts";

const program = new Command("vsockenc")
  .description(
    "A video encoder for virtual machines: guests name their frames, the host encodes them in place.",
  )
  .version(packageVersion)
  .showHelpAfterError("(--help shows what there is)")
  .addCommand(hostCommand())
  .addCommand(gpuCommand())
  .addCommand(relayCommand())
  .addCommand(qemuArgsCommand());

try {
  await program.parseAsync();
} catch (error) {
  // Our errors say what is wrong and what to do; a stack would only hide it. VSOCKENC_DEBUG shows it.
  const shown =
    error instanceof Error ? (process.env["VSOCKENC_DEBUG"] ? error.stack : error.message) : error;
  console.error(`vsockenc: ${shown}`);
  process.exitCode = 1;
}
