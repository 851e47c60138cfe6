import { SANITIZER_RUNTIME } from "./sanitized.ts";

/** Has the processes of probes load the addons of this one, with a script for the shim in them. */
export async function probing<T>(script: string, body: () => Promise<T>): Promise<T> {
  const variables = { ...SANITIZER_RUNTIME, VT_SHIM_SCRIPT: script };
  Object.assign(process.env, variables);
  try {
    return await body();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}
