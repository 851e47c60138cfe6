/** The viewer's page as a browser gets it, built once for all test files that open it. */
import { join } from "node:path";
import { build } from "vite";
import { packageRoot } from "../../../common/package-root.ts";

/** Vitest's globalSetup. A relay reads the page when it starts. */
export default async function buildPage(): Promise<void> {
  await build({ configFile: join(packageRoot, "vite.config.ts"), logLevel: "error" });
}
