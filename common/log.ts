import { destination, type Logger, pino } from "pino";

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * A logger that writes JSON lines to standard error, which service managers keep and people can read.
 *
 * Written synchronously: a process that is killed or crashes must not take its last words with it.
 */
export function createLogger(name: string, level: LogLevel): Logger {
  return pino({ name, level, base: { name } }, destination({ fd: 2, sync: true }));
}
