/**
 * Generates what both languages share from *.proto, limits.ts and formats.ts (git ignores all of it except the tables):
 *
 *     proto/gen/messages.js, .d.ts     protobufjs codecs
 *     proto/gen/c/*.pb.c, *.pb.h       nanopb codecs with static bounds
 *     proto/gen/c/vsockenc-limits.h    limits.ts as C constants
 *     proto/gen/c/vsockenc-formats.h   formats.ts as a list for C and C++
 *     proto/PROTOCOL.md, VIEWER.md, HXFR.md  the tables between the "generated" marks
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { errorText } from "../common/error-text.ts";
import { fourcc, PIXEL_FORMATS } from "./formats.ts";
import { replaceGenerated } from "./generated-marks.ts";
import { HXFR_REPLIES, HXFR_REQUESTS, type HxfrMessageFormat, hxfrMessageBytes } from "./hxfr.ts";
import { FIELD_BOUNDS, HEADER_FIELDS, LIMIT_DOCUMENTATION, LIMITS, type Limit } from "./limits.ts";
import { CLOSE_CODES } from "./viewer-closing.ts";
import { VIEWER_LIMIT_DOCUMENTATION } from "./viewer-limits.ts";

const here = dirname(fileURLToPath(import.meta.url));
const finished = join(here, "gen");
/** Generated here, then moved, so that a concurrent build never finds half of it. */
const generated = join(here, "gen.new");
const generatedC = join(generated, "c");

/** The files whose messages C uses: the guest's element, and the exporter inside QEMU (export.proto). */
const C_FILES = [
  "wire.proto",
  "session.proto",
  "stream.proto",
  "buffer.proto",
  "frame.proto",
  "export.proto",
];

function run(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { cwd: here, stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    const reason = errorText(error);
    throw new Error(`${command} failed: ${reason}\nInstall it with \`npm run setup\`.`);
  }
}

function typescriptCodecs(): void {
  const files = readdirSync(here).filter((name) => name.endsWith(".proto"));
  const pbjs = join(here, "..", "node_modules", ".bin", "pbjs");
  const omitted = ["create", "verify", "convert", "delimited", "service", "typeurl"].map(
    (part) => `--no-${part}`,
  );
  const options = ["--target=static-module", "--wrap=esm", "--dts", "--force-number", "--path=.", ...omitted];
  run(pbjs, [...options, "--out", join(generated, "messages.js"), ...files]);
}

function cCodecs(): void {
  const options = Object.entries(FIELD_BOUNDS).map(([field, bound]) =>
    "max_length" in bound
      ? `vsockenc.${field} max_length:${LIMITS[bound.max_length]}`
      : `vsockenc.${field} max_count:${LIMITS[bound.max_count]}`,
  );
  const optionsFile = join(generatedC, "vsockenc.options");
  writeFileSync(optionsFile, `${options.join("\n")}\n`);
  // The short option would be passed on with its space, and the file would silently be ignored.
  const nanopb = [`--nanopb_out=${generatedC}`, `--nanopb_opt=--options-file=${optionsFile}`];
  run("protoc", ["-I.", ...nanopb, ...C_FILES]);
}

function cLimits(): string {
  const lines = Object.entries(LIMIT_DOCUMENTATION).map(
    ([name, { value, unit, why }]) => `/* ${unit}: ${why} */\n#define VSOCKENC_${name} ${value}u`,
  );
  const offsets = HEADER_FIELDS.map(
    ({ name, offset, meaning }) =>
      `/* ${meaning} */\n#define VSOCKENC_HEADER_${name.toUpperCase()} ${offset}u`,
  );
  return [
    "/* Generated from proto/limits.ts by proto/generate.ts. */",
    "#ifndef VSOCKENC_LIMITS_H",
    "#define VSOCKENC_LIMITS_H",
    ...lines,
    "/* Byte offsets in the header. */",
    ...offsets,
    "#endif",
    "",
  ].join("\n");
}

/** `X(name, fourcc, planes, …)` for each format, with bytes, horizontal and vertical of three planes, 0 where none. */
function cFormats(): string {
  const rows = PIXEL_FORMATS.map(({ name, drm, planes }) => {
    const three = [0, 1, 2].map((index) => planes[index] ?? { bytes: 0, horizontal: 0, vertical: 0 });
    const numbers = three.flatMap(({ bytes, horizontal, vertical }) => [bytes, horizontal, vertical]);
    return `  X(${[name, `0x${fourcc(drm).toString(16)}u`, planes.length, ...numbers].join(", ")})`;
  });
  const packed = PIXEL_FORMATS.filter(({ planes }) => planes.length === 1);
  return [
    "/* Generated from proto/formats.ts by proto/generate.ts. */",
    "#ifndef VSOCKENC_FORMATS_H",
    "#define VSOCKENC_FORMATS_H",
    "/* X(name, fourcc, planes, and for each of three planes: bytes, horizontal, vertical) */",
    ["#define VSOCKENC_PIXEL_FORMATS(X)", ...rows].join(" \\\n"),
    "/* The formats of one plane, for caps. */",
    `#define VSOCKENC_PACKED_FORMATS "{ ${packed.map(({ name }) => name).join(", ")} }"`,
    "/* VIRTIO_GPU_FORMAT_* by GStreamer's name. */",
    ...PIXEL_FORMATS.flatMap(({ name, virtio }) =>
      virtio === undefined ? [] : `#define VSOCKENC_VIRTIO_${name} ${virtio}u`,
    ),
    "#endif",
    "",
  ].join("\n");
}

/** A table in Markdown; undefined is an empty cell. */
function table(head: readonly string[], rows: readonly (readonly (string | number | undefined)[])[]): string {
  const lines = [head, ...rows].map((cells) => `| ${cells.map((cell) => cell ?? "").join(" | ")} |`);
  lines.splice(1, 0, `${"|---".repeat(head.length)}|`);
  return lines.join("\n");
}

function limitTable(limits: Readonly<Record<string, Limit>>): string {
  const rows = Object.entries(limits).map(([name, { value, unit, why }]) => {
    const shown = name === "MAGIC" ? `0x${value.toString(16)}` : value.toLocaleString("en");
    return [name, shown, unit, why];
  });
  return table(["name", "value", "unit", "what it is"], rows);
}

function hxfrRow(sender: string, format: HxfrMessageFormat) {
  const { name, type, fields, tail, meaning } = format;
  const payload = fields.map(
    ([field, kind]) => `${field} ${typeof kind === "number" ? `u8[${kind}]` : kind}`,
  );
  const all = tail === undefined ? payload : [...payload, tail];
  const bytes = `${hxfrMessageBytes(format)}${tail === undefined ? "" : " + …"}`;
  return [`0x${type.toString(16).padStart(2, "0")}`, name, sender, bytes, all.join(", "), meaning];
}

/** Moves changed files only; unchanged ones keep their time, so that they are not compiled again. */
function takeOver(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  const names = readdirSync(from, { recursive: true, withFileTypes: true });
  for (const entry of names.filter((entry) => entry.isFile())) {
    const source = join(entry.parentPath, entry.name);
    const target = join(to, relative(from, source));
    mkdirSync(dirname(target), { recursive: true });
    if (!existsSync(target) || !readFileSync(target).equals(readFileSync(source))) renameSync(source, target);
  }
  rmSync(from, { recursive: true });
}

rmSync(generated, { recursive: true, force: true });
mkdirSync(generatedC, { recursive: true });
typescriptCodecs();
cCodecs();
writeFileSync(join(generatedC, "vsockenc-limits.h"), cLimits());
writeFileSync(join(generatedC, "vsockenc-formats.h"), cFormats());
takeOver(generated, finished);
replaceGenerated(join(here, "PROTOCOL.md"), {
  header: table(
    ["offset", "bytes", "field", "meaning"],
    HEADER_FIELDS.map(({ name, offset, bytes, meaning }) => [offset, bytes, name, meaning]),
  ),
  limits: limitTable(LIMIT_DOCUMENTATION),
  formats: table(
    ["GStreamer", "DRM", "VIRTIO_GPU_FORMAT", "planes"],
    PIXEL_FORMATS.map(({ name, drm, virtio, planes }) => [name, drm, virtio, planes.length]),
  ),
});
replaceGenerated(join(here, "VIEWER.md"), {
  closing: table(
    ["code", "meaning", "again"],
    Object.values(CLOSE_CODES).map(({ code, meaning, again }) => [code, meaning, again ? "yes" : "no"]),
  ),
  limits: limitTable(VIEWER_LIMIT_DOCUMENTATION),
});
replaceGenerated(join(here, "HXFR.md"), {
  messages: table(
    ["type", "name", "from", "bytes", "payload", "meaning"],
    [
      ...Object.values(HXFR_REQUESTS).map((format) => hxfrRow("client", format)),
      ...Object.values(HXFR_REPLIES).map((format) => hxfrRow("host", format)),
    ],
  ),
});
console.log(`generated ${relative(process.cwd(), finished)}`);
