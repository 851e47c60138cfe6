/** Writes the table of docs/configuration.md from the configuration's schema (part of `npm run generate`). */
import { join } from "node:path";
import { packageRoot } from "../common/package-root.ts";
import { fieldsTable } from "../common/toml-file.ts";
import { replaceGenerated } from "../proto/generated-marks.ts";
import { configurationFields } from "./config.ts";

const table = fieldsTable(configurationFields());
replaceGenerated(join(packageRoot, "docs", "configuration.md"), { fields: table });
