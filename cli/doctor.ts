import { Command, Option } from "commander";
import { readConfiguration } from "../host/config.ts";
import { type Check, formatChecks } from "./doctor/check.ts";
import { checkGuest, looksLikeGuest } from "./doctor/guest.ts";
import { checkHost } from "./doctor/host.ts";

interface Options {
  readonly config?: string;
  readonly side: "auto" | "host" | "guest";
  readonly probe?: true;
  readonly json?: true;
}

async function check({ config, side, probe }: Options): Promise<Check[]> {
  const guest = side === "guest" || (side === "auto" && config === undefined && looksLikeGuest("/"));
  if (guest) return checkGuest("/", probe ?? false);
  return await checkHost(config === undefined ? undefined : readConfiguration(config));
}

/** `vsockenc doctor`: finds what is missing on this machine, and the command that fixes it. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("check this machine, host or guest, and print the command that fixes each problem")
    .option("--config <file>", "host: also check the sockets of this configuration")
    .addOption(
      new Option("--side <side>", "checks to run; auto: the guest's if there is a port org.vsockenc.*")
        .choices(["auto", "host", "guest"])
        .default("auto"),
    )
    .option("--probe", "guest: send one buffer through the whole path and compare checksums")
    .option("--json", "print the checks as JSON")
    .addHelpText(
      "after",
      `
Exit status: 0 if no check fails (warnings are allowed), 1 if one fails, 2 for wrong arguments or configuration.

Examples:
  vsockenc doctor --config host.toml
  vsockenc doctor --probe                  (in a guest)`,
    )
    .action(async (options: Options) => {
      const checks = await check(options);
      const healthy = checks.every(({ status }) => status !== "failure");
      console.log(options.json ? JSON.stringify({ ok: healthy, checks }, null, 2) : formatChecks(checks));
      if (!healthy) process.exitCode = 1;
    });
}
