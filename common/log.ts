import { destination, type Logger, pino } from "pino";

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * A logger that writes JSON lines to standard error, where service managers collect them.
 *
 * It writes synchronously, so that the last lines of a process that crashes or is killed are not lost.
 */
export function createLogger(name: string, level: LogLevel): Logger {
  return pino({ name, level, base: { name } }, destination({ fd: 2, sync: true }));
}
