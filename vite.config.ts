/** Builds the viewer's page into dist/viewer/page, from where its server reads it. */
import { join } from "node:path";
import { defineConfig } from "vite";

const dirname = import.meta.dirname;

export default defineConfig({
  root: join(dirname, "viewer", "page"),
  // Relative, so that the page works behind a proxy that puts it below a path.
  base: "./",
  publicDir: false,
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
