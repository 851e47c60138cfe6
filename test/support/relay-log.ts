/** What the relay's log (JSON lines) says about a stream. */

export interface LoggedPacket {
  readonly frame: number;
  readonly size: number;
  readonly key: boolean;
  readonly queueUs: number;
  readonly convertUs: number;
  readonly encodeUs: number;
}

interface Line {
  readonly msg?: string;
  readonly encoder?: string;
}

/** Packets of the newest stream that the log knows, at level "trace", and the encoder that made them. */
export function relayPackets(log: string): { encoder: string; packets: LoggedPacket[] } {
  let encoder = "unknown";
  let packets: LoggedPacket[] = [];
  for (const line of logLines(log)) {
    if (line.msg === "encoder opened") {
      encoder = line.encoder ?? "unknown";
      packets = [];
    } else if (line.msg === "packet") {
      packets.push(line as Line & LoggedPacket);
    }
  }
  return { encoder, packets };
}

function logLines(log: string): Line[] {
  return log.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line) as Line];
    } catch {
      // The first line may have been cut by the log's bound; others are not the relay's.
      return [];
    }
  });
}
