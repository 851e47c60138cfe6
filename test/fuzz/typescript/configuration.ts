/**
 * The host's configuration: any texts, the main file's and those that add to it (after form feeds), are one, or refused by a
 * ConfigurationError that names a file.
 */
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
    const examples = [...text.matchAll(/```toml\n(.*?)```/gs)].map(([, example = ""]) => example);
    return [...examples, examples.join("\f")].map((example) => Buffer.from(example));
  });
}

export const configuration: TypescriptTarget = {
  files: ["host/config.ts", "common/toml-file.ts", "common/address.ts"],
  seeds,
  property: () => (input) => {
    const [main = "", ...more] = input.toString("utf8").split("\f");
    const added = more.map((text, index) => ({ name: `fuzz.d/${index}.toml`, text }));
    try {
      parseConfiguration(main, "fuzz.toml", added);
    } catch (error) {
      assert(error instanceof ConfigurationError, error instanceof Error ? error.stack : String(error));
      assert(["fuzz.toml", ...added.map(({ name }) => name)].some((name) => error.message.includes(name)));
    }
  },
};
