/** Writes the table of docs/configuration.md from the configuration's schema (part of `npm run generate`). */
import { join } from "node:path";
import { replaceGenerated } from "../proto/generated-marks.ts";
import { configurationFields } from "./config.ts";
import { fieldsTable } from "./configuration-file.ts";
import { packageRoot } from "./package-root.ts";

const table = fieldsTable(configurationFields());
replaceGenerated(join(packageRoot, "docs", "configuration.md"), { fields: table });
