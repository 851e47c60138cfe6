/** A command line's words as a text for the guest's shell. */

/** One word is a line for the shell; several are a program and its arguments, passed on as they are. */
export function shellText(words: readonly string[]): string {
  const [only] = words;
  if (words.length === 1 && only !== undefined) {
    return only;
  }
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}
