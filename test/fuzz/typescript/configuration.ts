/** The host's configuration file: any text is a configuration, or refused by a ConfigurationError that names the field. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../../common/package-root.ts";
import { ConfigurationError, parseConfiguration } from "../../../host/config.ts";
import type { TypescriptTarget } from "../typescript-fuzzer.ts";

/** The examples of the documentation. */
function seeds(): Buffer[] {
  const folder = join(packageRoot, "docs");
  const pages = readdirSync(folder).filter((name) => name.endsWith(".md"));
  return pages.flatMap((name) => {
    const text = readFileSync(join(folder, name), "utf8");
    return [...text.matchAll(/```toml\n(.*?)```/gs)].map(([, example = ""]) => Buffer.from(example));
  });
}

export const configuration: TypescriptTarget = {
  files: ["host/config.ts", "common/toml-file.ts", "common/address.ts"],
  seeds,
  property: () => (input) => {
    try {
      parseConfiguration(input.toString("utf8"), "fuzz.toml");
    } catch (error) {
      assert(error instanceof ConfigurationError, error instanceof Error ? error.stack : String(error));
      assert(error.message.includes("fuzz.toml"));
    }
  },
};
