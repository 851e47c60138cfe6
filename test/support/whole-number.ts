import { InvalidArgumentError } from "commander";

/** A commander parser of whole numbers from `least` to `most`. */
export const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    const limits = [least, most].map((limit) => limit.toLocaleString("en")).join(" to ");
    throw new InvalidArgumentError(`Expected a whole number from ${limits}.`);
  };
