/** Builds the viewer's page into dist/viewer/page, from where its server reads it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const dirname = import.meta.dirname;
const proto = join(dirname, "proto");

/** proto/generate.ts makes one module of all messages; a page that speaks ten of them need not load the others. */
function viewerMessagesAlone(): Plugin {
  return {
    name: "viewer-messages-alone",
    load(id) {
      if (id !== join(proto, "gen", "messages.js")) return null;
      const scratch = mkdtempSync(join(tmpdir(), "vsockenc-page-"));
      try {
        const filter = join(scratch, "filter.json");
        // Enumerations come along only from the file itself, so the one of session.proto is named.
        const messageNames = ["Codec", "viewer.ViewerMessage", "viewer.ServerMessage"].map(
          (name) => `vsockenc.${name}`,
        );
        writeFileSync(filter, JSON.stringify({ messageNames }));
        const kind = ["--target", "static-module", "--wrap", "esm", "--force-number"];
        const parts = ["--no-create", "--no-verify", "--no-convert", "--no-delimited", "--no-service"];
        const options = [...kind, ...parts, "--no-typeurl", "--filter", filter, "--path", proto];
        const pbjs = join(dirname, "node_modules", ".bin", "pbjs");
        return execFileSync(pbjs, [...options, "viewer.proto"], { cwd: proto, encoding: "utf8" });
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
    },
  };
}

export default defineConfig({
  root: join(dirname, "viewer", "page"),
  // Relative, so that the page works behind a proxy that puts it below a path.
  base: "./",
  publicDir: false,
  plugins: [viewerMessagesAlone()],
  worker: { format: "es" },
  build: {
    outDir: join(dirname, "dist", "viewer", "page"),
    emptyOutDir: true,
    target: "es2022",
    // The server's Content-Security-Policy allows no inline code and no data: scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
