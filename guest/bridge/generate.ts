/** Writes the table of docs/bridge.md from the configuration's schema (part of `npm run generate`). */
import { join } from "node:path";
import { fieldsTable } from "../../host/configuration-file.ts";
import { packageRoot } from "../../host/package-root.ts";
import { replaceGenerated } from "../../proto/generated-marks.ts";
import { bridgeConfigurationFields } from "./configuration.ts";

const table = fieldsTable(bridgeConfigurationFields());
replaceGenerated(join(packageRoot, "docs", "bridge.md"), { fields: table });
