/**
 * Strings as gst_parse_launch() reads them.
 *
 * What stands behind the = of a property is read three times (GStreamer 1.22 to 1.28): the lexer finds its end (`_string`
 * in gst/parse/parse.l), gst_parse_unescape() in gst/parse/types.h takes away the backslashes outside double quotes,
 * and gst_value_deserialize_string() in gst/gstvalue.c takes NULL for no string, and what is still in double quotes
 * for a string with octal escapes.
 */

/** Letters that none of the three readers looks at: GST_ASCII_IS_STRING of gst/gst_private.h. */
const PLAIN = /^[\w+\-./:]$/;

/** Whether GStreamer can hold this text: its strings are UTF-8 and end at the first NUL. */
export function isStorable(text: string): boolean {
  return !/\0|\p{Surrogate}/u.test(text);
}

/** The text as the value of a property. It must be storable. */
export function launchText(text: string): string {
  if (text === "NULL" || /["\\]/.test(text)) return wrapped(text);
  return text !== "" && [...text].every((letter) => PLAIN.test(letter)) ? text : `"${text}"`;
}

/** The form for whatever has a meaning within double quotes: the last reader's form, escaped for the first two. */
function wrapped(text: string): string {
  const bytes = [...Buffer.from(text, "utf8")].map((byte) => {
    const letter = String.fromCharCode(byte);
    return PLAIN.test(letter) ? letter : `\\\\${byte.toString(8).padStart(3, "0")}`;
  });
  return `\\"${bytes.join("")}\\"`;
}
