/**
 * Checks that C and C++ sources are formatted as .clang-format says; `--write` formats them.
 *
 * Files come from git, so that generated code and build trees stay out.
 */
import { execFileSync, spawnSync } from "node:child_process";

const patterns = ["*.c", "*.h", "*.cc"];
const options = ["ls-files", "--cached", "--others", "--exclude-standard", "--", ...patterns];
const files = execFileSync("git", options, { encoding: "utf8" }).split("\n").filter(Boolean);
const mode = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "--Werror"];
const { status, error } = spawnSync("clang-format", [...mode, ...files], { stdio: "inherit" });
if (error !== undefined) {
  console.error(`clang-format does not start (${error.message}): npm run setup -- --for test`);
}
process.exitCode = status ?? 1;
