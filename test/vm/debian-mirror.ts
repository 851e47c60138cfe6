/**
 * Where the guest's packages come from: the mirror that this machine's own apt uses. The project names none.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { RequirementError } from "./errors.ts";

/** The environment variable for machines whose apt has no Debian mirror (Ubuntu, for one). */
const MIRROR_VARIABLE = "VSOCKENC_DEBIAN_MIRROR";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface DebianMirror {
  url: string;
  keyring: string;
}

/** The first Debian mirror in lines of "SITE ORIGIN CODENAME" (Debian's security archive has another layout). */
export function mirrorFromTargets(lines: string): string | undefined {
  for (const line of lines.split("\n")) {
    const [site, origin, codename] = line.trim().split(/\s+/);
    if (
      site !== undefined &&
      origin === "Debian" &&
      codename !== undefined &&
      !codename.includes("security")
    ) {
      return site;
    }
  }
  return undefined;
}

/** The mirror for the guest's packages, or an error which says how to name one. */
export function findDebianMirror(): DebianMirror {
  if (!existsSync(KEYRING)) {
    throw new RequirementError(`Debian's keys are missing (${KEYRING}). Run: npm run setup -- --for vm`);
  }
  const chosen = process.env[MIRROR_VARIABLE];
  if (chosen !== undefined && chosen !== "") {
    return { url: chosen, keyring: KEYRING };
  }
  const targets = execFileSync("apt-get", ["indextargets", "--format", "$(SITE) $(ORIGIN) $(CODENAME)"], {
    encoding: "utf8",
  });
  const url = mirrorFromTargets(targets);
  if (url === undefined) {
    throw new RequirementError(
      `This machine's apt has no Debian mirror, from which the test guest could be made. ` +
        `Set ${MIRROR_VARIABLE} to the address of one (the address that a Debian machine has in its sources.list), ` +
        `or run "apt-get update" if apt has simply not read its lists yet.`,
    );
  }
  return { url, keyring: KEYRING };
}
