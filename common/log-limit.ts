/** Bounds what peers can write to the log: they cause most of its lines, and choose some of their words. */
import type { Logger } from "pino";
import { RateLimit } from "./rate-limit.ts";

/** Of one link, VM, GPU process or viewer server. */
export const LINES_PER_SECOND = 30;
/** About requests that are answered with an error: they must not take the place of the lines about their session. */
export const ANSWER_LINES_PER_SECOND = 5;
/** Time from the first line that was left out to the line that says how many were. */
export const SUMMARY_MS = 5000;

/** Debugging is asked for, and wants every line. */
const LIMITED: readonly (string | symbol)[] = ["fatal", "error", "warn", "info"];

/** A logger, with its children, that writes a bounded number of lines and counts the others in one. */
export function limitLines(log: Logger, perSecond = LINES_PER_SECOND): Logger {
  const rate = new RateLimit(perSecond);
  let suppressed = 0;
  const summarise = (): void => {
    log.warn({ suppressed }, `suppressed lines: more than ${perSecond} in a second`);
    suppressed = 0;
  };
  const isWithin = (): boolean => {
    if (rate.take()) return true;
    if (suppressed === 0) setTimeout(summarise, SUMMARY_MS).unref();
    suppressed += 1;
    return false;
  };
  const limited = (target: Logger): Logger =>
    new Proxy(target, {
      get(_, key) {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        if (key === "child") {
          return (bindings: Parameters<Logger["child"]>[0]) => limited(target.child(bindings));
        }
        const isLimited = LIMITED.includes(key) && target.isLevelEnabled(String(key));
        return (...args: unknown[]): unknown =>
          isLimited && !isWithin() ? undefined : Reflect.apply(value, target, args);
      },
    });
  return limited(log);
}
