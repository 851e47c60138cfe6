import type { Command } from "commander";

/** Runs a command line; an error becomes a message and exit status 1. */
export async function runProgram(program: Command): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    // Our errors say what is wrong and what to do; a stack would only hide it. VSOCKENC_DEBUG shows it.
    const shown =
      error instanceof Error ? (process.env["VSOCKENC_DEBUG"] ? error.stack : error.message) : error;
    console.error(`vsockenc: ${shown}`);
    process.exitCode = 1;
  }
}
