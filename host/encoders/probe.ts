/** Whether an encoder opens on this machine. */
import type { CodecName } from "../../common/codec.ts";
import {
  type EncoderBackend,
  type EncoderConfiguration,
  type EncoderEvents,
  EncoderUnavailableError,
} from "./encoder.ts";

/** A driver has opened by then, or hangs. */
const PROBE_MS = 5000;

/** Large enough for any encoder's least size. */
const PROBE: Omit<EncoderConfiguration, "codec"> = {
  width: 256,
  height: 256,
  framerate: { numerator: 30, denominator: 1 },
  profile: undefined,
  levels: [],
  bitrateKbps: 1000,
  rateControl: "cbr",
  keyframeInterval: 30,
  colorimetry: { primaries: 0, transfer: 0, matrix: 0, fullRange: false },
  pixelAspectRatio: { numerator: 1, denominator: 1 },
};

const NO_EVENTS: EncoderEvents = {
  onFrameRead() {},
  onPacket() {},
  onDropped() {},
  onError() {},
};

/**
 * Opens a session and closes it, which takes five seconds at the most.
 *
 * @throws EncoderError with the reason why it does not open
 */
export async function probe(backend: Pick<EncoderBackend, "open">, codec: CodecName): Promise<void> {
  await within(PROBE_MS, openAndClose(backend, codec));
}

async function openAndClose(backend: Pick<EncoderBackend, "open">, codec: CodecName): Promise<void> {
  const session = await backend.open({ ...PROBE, codec }, NO_EVENTS);
  await session.close();
}

/** Rejects when the work takes longer. It goes on, as nothing can stop a driver that hangs; its end is ignored. */
async function within(milliseconds: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new EncoderUnavailableError(`it did not open within ${milliseconds} ms`)),
      milliseconds,
    );
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
