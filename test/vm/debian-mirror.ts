/** The mirror of the guest's packages: the one in this machine's apt configuration. The project names none. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { RequirementError } from "./errors.ts";

/** For machines whose apt has no Debian mirror, e.g. Ubuntu. */
const MIRROR_VARIABLE = "VSOCKENC_DEBIAN_MIRROR";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface DebianMirror {
  url: string;
  keyring: string;
}

/** The first Debian mirror in lines of "SITE ORIGIN CODENAME" (Debian's security archive has another layout). */
export function mirrorFromTargets(lines: string): string | undefined {
  const targets = lines.split("\n").map((line) => line.trim().split(/\s+/));
  return targets.find(([, origin, codename]) => origin === "Debian" && !codename?.includes("security"))?.[0];
}

/** @throws RequirementError if the machine has none */
export function findDebianMirror(): DebianMirror {
  if (!existsSync(KEYRING)) {
    throw new RequirementError(
      `Debian's keys are not installed (${KEYRING}). Run: npm run setup -- --for vm`,
    );
  }
  const format = ["indextargets", "--format", "$(SITE) $(ORIGIN) $(CODENAME)"];
  const url =
    process.env[MIRROR_VARIABLE] || mirrorFromTargets(execFileSync("apt-get", format, { encoding: "utf8" }));
  if (url !== undefined) return { url, keyring: KEYRING };
  throw new RequirementError(
    `apt's sources contain no Debian mirror, which the test guest needs. Run "apt-get update" if apt has not read its ` +
      `lists yet, or set ${MIRROR_VARIABLE} to a mirror's address (as in a Debian machine's sources.list).`,
  );
}
