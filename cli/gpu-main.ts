#!/usr/bin/env node
/**
 * The program `vsockenc-gpu`: `vsockenc gpu` under a name of its own. libvirt starts vhost-user back ends by the path of a
 * program, without a subcommand (QEMU, docs/interop/vhost-user.rst).
 */
import { gpuCommand } from "./gpu.ts";
import { runProgram } from "./program.ts";

await runProgram(gpuCommand().name("vsockenc-gpu"));
