/** The error of an option that cannot be, which says what was expected and what came. */
import { inspect } from "node:util";

/** What was given for a property, for an option or for a field of the caps cannot be; the message says what can. */
export class ElementOptionError extends Error {
  override readonly name = "ElementOptionError";
  /** Name of what is wrong, e.g. `bitrate`. */
  readonly option: string;

  constructor(option: string, message: string) {
    super(message);
    this.option = option;
  }
}

/** @param expected follows "Expected", e.g. "an integer" */
export function refuse(option: string, expected: string, received: unknown, advice = ""): never {
  const shown = inspect(received, { depth: 0, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 80 });
  const type = received === null ? "null" : Array.isArray(received) ? "array" : typeof received;
  const message = `Expected ${expected} for ${option} but received ${shown} of type ${type}`;
  throw new ElementOptionError(option, advice === "" ? message : `${message}; ${advice}`);
}

/** Refuses what is none of `names`, with all of them and the nearest. */
export function refuseName(option: string, names: readonly string[], received: unknown): never {
  const near = typeof received === "string" ? nearest(received, names) : undefined;
  const advice = near === undefined ? "" : `did you mean ${near}?`;
  return refuse(option, `one of ${names.join(", ")}`, received, advice);
}

/** Returns the one of `values` that `received` is, or refuses it. */
export function oneOf<Value extends string>(
  option: string,
  values: readonly Value[],
  received: unknown,
): Value {
  return values.find((value) => value === received) ?? refuseName(option, values, received);
}

/** Refuses what is no object: the types say so already to those who use them. */
export function expectObject(option: string, received: unknown): asserts received is object {
  if (typeof received !== "object" || received === null || Array.isArray(received)) {
    refuse(option, "an object", received);
  }
}

/** Names that differ in more than this share of their letters are not meant for one another. */
const MOST_DIFFERENT = 0.4;

function nearest(wrong: string, names: readonly string[]): string | undefined {
  if (wrong.length > 100) return undefined;
  const word = wrong.replace(/[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
  const rated = names.map((name) => ({ name, far: distance(word, name) / name.length }));
  return rated.sort((a, b) => a.far - b.far).find(({ far }) => far <= MOST_DIFFERENT)?.name;
}

/** Levenshtein's distance: letters to insert, to delete or to replace. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [y, letter] of [...from].entries()) {
    const next = [y + 1];
    for (const [x, other] of [...to].entries()) {
      const replaced = (row[x] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[x + 1] ?? 0) + 1, (next[x] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
