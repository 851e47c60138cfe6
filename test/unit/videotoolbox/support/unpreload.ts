/** Vitest's setup file of the project "videotoolbox": its workers preload the sanitizers' libraries, their children do not. */
import { SANITIZER_RUNTIME } from "./sanitized.ts";

for (const name of Object.keys(SANITIZER_RUNTIME)) delete process.env[name];
