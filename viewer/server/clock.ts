/** The clock that AccessUnit.sent_us and ServerPong.clock_us are read from, in microseconds; its zero means nothing. */
export function serverClockUs(): number {
  return Math.round(performance.now() * 1000);
}
