/** Generated tables in Markdown are between `<!-- generated: NAME -->` and `<!-- end -->`. */
import { readFileSync, writeFileSync } from "node:fs";

/**
 * Replaces the text between the marks; writes the file only if that changes it.
 *
 * @param tables by the names in the marks
 * @throws Error when the file has no such mark
 */
export function replaceGenerated(file: string, tables: Readonly<Record<string, string>>): void {
  const before = readFileSync(file, "utf8");
  let text = before;
  for (const [name, table] of Object.entries(tables)) {
    const marks = new RegExp(`(<!-- generated: ${name} -->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!marks.test(text)) throw new Error(`${file} has no mark <!-- generated: ${name} -->`);
    text = text.replace(marks, (_whole, begin: string, end: string) => `${begin}${table}\n${end}`);
  }
  if (text !== before) writeFileSync(file, text);
}
