#!/usr/bin/env node
import { gpuCommand } from "./gpu.ts";
/**
 * The program `vsockenc-gpu`: `vsockenc gpu` under a name of its own, for those who start vhost-user back ends by the
 * path of a program and nothing else (docs/interop/vhost-user.rst of QEMU; libvirt).
 */
import { runProgram } from "./run-program.ts";

await runProgram(gpuCommand().name("vsockenc-gpu"));
