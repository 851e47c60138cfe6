/** Vitest's setup file of the project "videotoolbox": its workers have the sanitizers' libraries, their children not. */
import { SANITIZER_RUNTIME } from "./sanitized.ts";

for (const name of Object.keys(SANITIZER_RUNTIME)) delete process.env[name];
