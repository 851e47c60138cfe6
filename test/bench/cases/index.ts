import type { Case } from "../case.ts";
import { endurance } from "./endurance.ts";
import { faults } from "./faults.ts";
import { flood } from "./flood.ts";
import { hostile } from "./hostile.ts";
import { interrupts } from "./interrupts.ts";
import { pictureSize } from "./picture-size.ts";
import { relayCpu } from "./relay-cpu.ts";
import { relayShare } from "./relay-share.ts";
import { rendered } from "./rendered.ts";
import { resume } from "./resume.ts";
import { streams } from "./streams.ts";
import { throughput } from "./throughput.ts";
import { videotoolboxShim } from "./videotoolbox-shim.ts";
import { vmBytes } from "./vm-bytes.ts";
import { vmGuestEncoder } from "./vm-guest-encoder.ts";
import { vmPort } from "./vm-port.ts";
import { vmRelayShare } from "./vm-relay-share.ts";

/** All cases, in the order of the table. */
export const CASES: readonly Case[] = [
  pictureSize,
  relayShare,
  throughput,
  videotoolboxShim,
  relayCpu,
  streams,
  flood,
  resume,
  interrupts,
  hostile,
  endurance,
  faults,
  vmRelayShare,
  vmBytes,
  vmGuestEncoder,
  vmPort,
  rendered,
];
