import { destination, type Logger, pino } from "pino";

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What may wait for the reader of standard error, in bytes. */
const MAX_WAITING_BYTES = 1 << 20;

/**
 * A logger that writes JSON lines to standard error, where service managers collect them.
 *
 * The caller never waits for the reader: lines are written in the background, and those beyond a bound are dropped and
 * counted. Lines that wait when the process exits are written then, also after an exception, unless they cannot be.
 */
export function createLogger(name: string, level: LogLevel): Logger {
  const output = destination({ fd: 2, sync: false, maxLength: MAX_WAITING_BYTES });
  const log = pino({ name, level, base: { name } }, output);
  let dropped = 0;
  output.on("drop", () => {
    dropped += 1;
  });
  output.on("drain", () => {
    if (dropped === 0) return;
    const lines = dropped;
    dropped = 0;
    log.warn({ lines }, "dropped lines of the log: standard error is read too slowly");
  });
  // A full disk or a closed terminal ends no program; the lines are tried again with the next one.
  let isWritable = true;
  output.on("error", () => {
    isWritable = false;
  });
  output.on("write", () => {
    isWritable = true;
  });
  // At the process's end, sonic-boom tries again for ever, whatever the error is.
  const flush = output.flushSync.bind(output);
  output.flushSync = () => {
    if (isWritable) flush();
    else output.destroy();
  };
  return log;
}
