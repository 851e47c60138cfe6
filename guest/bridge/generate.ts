/** Generates the table in docs/bridge.md from the configuration's schema (part of `npm run generate`). */
import { join } from "node:path";
import { packageRoot } from "../../common/package-root.ts";
import { fieldsTable } from "../../common/toml-file.ts";
import { replaceGenerated } from "../../proto/generated-marks.ts";
import { bridgeConfigurationFields } from "./configuration.ts";

const table = fieldsTable(bridgeConfigurationFields());
replaceGenerated(join(packageRoot, "docs", "bridge.md"), { fields: table });
