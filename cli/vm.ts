/** `vsockenc vm`: VMs of a running relay come and go, and are looked at. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Command, Option } from "commander";
import { ConfigurationError, configurationFolder, readConfiguration, vmName } from "../host/config.ts";
import { RUN_GPUS } from "../host/qemu-line.ts";
import type { ControlAnswer, ControlRequest } from "../host/relay/control.ts";
import { type VmShape, vmTable } from "../host/vm-table.ts";
import { headsOption, modeOption } from "./options.ts";

/** The system's relay (packaging/systemd). */
const SYSTEM_CONTROL = "/run/vsockenc/control.sock";

/** No relay did what it was asked to; the message has the remedy. */
class ControlError extends Error {
  override readonly name = "ControlError";
}

interface ControlOptions {
  readonly control?: string;
}

interface AddOptions extends ControlOptions, VmShape {
  readonly folder?: string;
}

type Listed = Extract<ControlAnswer, { type: "vms" }>;
type Asked<Type extends ControlAnswer["type"]> = Extract<ControlAnswer, { type: Type }>;

/** The socket of the relay that is meant. */
async function controlSocket({ control }: ControlOptions): Promise<string> {
  const { controlPath } = await import("../host/relay/control.ts");
  const own = controlPath(process.env);
  return control ?? (own !== undefined && existsSync(own) ? own : SYSTEM_CONTROL);
}

/** @throws ControlError */
async function ask<Type extends ControlAnswer["type"]>(
  options: ControlOptions,
  request: ControlRequest,
  wanted: Type,
): Promise<Asked<Type>> {
  const { askControl } = await import("../host/relay/control.ts");
  const path = await controlSocket(options);
  let answer: ControlAnswer;
  try {
    answer = await askControl(path, request);
  } catch (error) {
    const remedy =
      "start `vsockenc host` or the unit vsockenc-relay, as this user or root; or name its socket with --control";
    throw new ControlError(`no relay answers at ${path}: ${remedy}`, { cause: error });
  }
  if (answer.type === "failed") throw new ControlError(answer.text);
  if (answer.type === wanted) return answer as Asked<Type>;
  throw new ControlError(`the relay answered ${answer.type}: update vsockenc, or restart the relay`);
}

const list = (options: ControlOptions): Promise<Listed> => ask(options, { type: "list" }, "vms");

function table({ vms, viewer }: Listed): string {
  const width = Math.max(4, ...vms.map(({ name }) => name.length));
  const rows = vms.map(({ name, state, fault, links }) => {
    const connected = links.filter(({ connections }) => connections > 0).length;
    return `${name.padEnd(width)}  ${state.padEnd(11)}  ${connected} of ${links.length}  ${fault ?? ""}`.trimEnd();
  });
  const head = `${"name".padEnd(width)}  ${"state".padEnd(11)}  sockets connected`;
  return [
    vms.length > 0 ? head : "no VMs",
    ...rows,
    ...(viewer === undefined ? [] : [`viewer: ${viewer}`]),
  ].join("\n");
}

/** The file of a VM that `vm add` has made. @throws ConfigurationError for a name that cannot be one */
function fileOf(configuration: string, name: string): string {
  if (!vmName.safeParse(name).success) {
    throw new ConfigurationError(
      `a VM's name has 1 to 63 letters, digits, dots, dashes or underscores: ${name}`,
    );
  }
  return join(configurationFolder(configuration), `${name}.toml`);
}

/** Writes a file, whole or not at all. */
function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const draft = join(dirname(file), `.${basename(file)}.${process.pid}`);
  try {
    writeFileSync(draft, text, { flag: "wx" });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

async function add(name: string, options: AddOptions): Promise<void> {
  const { file: configuration } = await list(options);
  const file = fileOf(configuration, name);
  if (existsSync(file))
    throw new ConfigurationError(
      `${file} exists: remove that VM first, or edit the file and run \`vsockenc vm reload\``,
    );
  const folder = options.folder ?? dirname(await controlSocket(options));
  writeWhole(
    file,
    vmTable(name, options, (what) => join(folder, `${name}-${what}.sock`)),
  );
  try {
    readConfiguration(configuration);
    await ask(options, { type: "reload" }, "applied");
  } catch (error) {
    rmSync(file, { force: true });
    throw error;
  }
  console.log(
    `${name} is in ${file}. Start its QEMU with: $(vsockenc qemu-args --config ${configuration} --vm ${name})`,
  );
}

async function remove(name: string, options: ControlOptions): Promise<void> {
  const { file: configuration } = await list(options);
  const file = fileOf(configuration, name);
  if (!existsSync(file)) {
    throw new ConfigurationError(
      `${name} is not in a file of its own, ${file}: edit the configuration, and run \`vsockenc vm reload\``,
    );
  }
  const before = readFileSync(file);
  rmSync(file);
  try {
    await ask(options, { type: "reload" }, "applied");
  } catch (error) {
    writeWhole(file, before.toString());
    throw error;
  }
  console.log(`${name} is removed. The GPU of a VM that runs ends with it.`);
}

function subcommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(
      new Option(
        "--control <socket>",
        "the relay's control socket (default: of this user's relay, or the system's)",
      ),
    );
}

/** The subcommand. */
export function vmCommand(): Command {
  return new Command("vm")
    .description("add, remove and look at the VMs of a running relay")
    .addCommand(
      subcommand("list", "what each VM is doing").action(async (options: ControlOptions) => {
        console.log(table(await list(options)));
      }),
    )
    .addCommand(
      subcommand("show", "a VM and its sockets, as JSON")
        .argument("<name>")
        .action(async (name: string, options: ControlOptions) => {
          const { vms } = await list(options);
          const vm = vms.find((one) => one.name === name);
          if (vm === undefined) {
            const names = vms.map((one) => one.name).join(", ");
            throw new ConfigurationError(`no VM is named ${name}; there are: ${names}`);
          }
          console.log(JSON.stringify(vm, null, 2));
        }),
    )
    .addCommand(
      subcommand("add", "add a VM: writes NAME.toml into the folder beside the configuration")
        .argument("<name>")
        .addOption(
          new Option("--gpu <kind>", "the VM's GPU, as of `vsockenc run`").choices(RUN_GPUS).default("2d"),
        )
        .addOption(headsOption())
        .addOption(modeOption())
        .option("--folder <folder>", "for the VM's sockets (default: that of the control socket)")
        .action(add),
    )
    .addCommand(subcommand("remove", "remove a VM that was added").argument("<name>").action(remove))
    .addCommand(
      subcommand("reload", "have the configuration read again, as SIGHUP does").action(
        async (options: ControlOptions) => {
          const { opened, closed, later } = await ask(options, { type: "reload" }, "applied");
          console.log(`opened: ${opened.join(", ") || "nothing"}; closed: ${closed.join(", ") || "nothing"}`);
          if (later.length > 0) console.log(`at the relay's next start: ${later.join(", ")}`);
        },
      ),
    );
}
