/** Writes the table of docs/configuration.md from the configuration's schema (part of `npm run generate`). */
import { join } from "node:path";
import { replaceGenerated } from "../proto/generated-marks.ts";
import { configurationFields } from "./config.ts";
import { packageRoot } from "./package-root.ts";

const rows = configurationFields().map(({ name, type, defaultValue, required, description }) => {
  const fallback = required ? "required" : defaultValue === undefined ? "" : `\`${defaultValue}\``;
  return `| \`${name}\` | ${type} | ${fallback} | ${description} |`;
});
const table = ["| field | values | default | meaning |", "|---|---|---|---|", ...rows].join("\n");
replaceGenerated(join(packageRoot, "docs", "configuration.md"), { fields: table });
