#!/usr/bin/env node
/** The command `vsockenc`; each subcommand has a file in this folder. */
import { Command } from "commander";
import { packageVersion } from "../common/package-root.ts";
import { bridgeCommand } from "./bridge.ts";
import { doctorCommand } from "./doctor.ts";
import { gpuCommand } from "./gpu.ts";
import { hostCommand } from "./host.ts";
import { libvirtXmlCommand, qemuArgsCommand } from "./hypervisor.ts";
import { runProgram } from "./program.ts";
import { relayCommand } from "./relay.ts";
import { runCommand } from "./run.ts";
import { vmCommand } from "./vm.ts";

const program = new Command("vsockenc")
  .description(
    "A video encoder for virtual machines: guests send resource ids, the host encodes the pixels in place.",
  )
  .version(packageVersion)
  .showHelpAfterError("(see --help)")
  .enablePositionalOptions()
  .addCommand(runCommand())
  .addCommand(hostCommand())
  .addCommand(vmCommand())
  .addCommand(gpuCommand())
  .addCommand(relayCommand())
  .addCommand(bridgeCommand())
  .addCommand(doctorCommand())
  .addCommand(qemuArgsCommand())
  .addCommand(libvirtXmlCommand());

await runProgram(program);
