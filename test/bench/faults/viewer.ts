/** A viewer as a process: `viewer.ts ADDRESS SOURCE`. It prints its first access unit, in base64, and stays. */
import { until } from "../../support/until.ts";
import { TestViewer } from "../../unit/viewer/support/test-viewer.ts";

const [address = "", source = ""] = process.argv.slice(2);
const viewer = await TestViewer.connect(address);
viewer.watch(source);
const unit = await until(() => viewer.units[0], "an access unit");
console.log(`unit ${unit.key} ${Buffer.from(unit.data).toString("base64")}`);
