import type { Logger } from "pino";
import type { Configuration } from "../config.ts";
import type { EncoderOffer } from "../encoders/encoder.ts";
import { createBackend, type PreferredBackend } from "../encoders/index.ts";

/**
 * The encoders of a configuration. What concerns more than one stream is logged.
 *
 * @param offers of those that work; without them, the encoders are probed, beginning at once
 */
export function relayEncoders(
  { order, device }: Configuration["encoder"],
  log: Logger,
  offers?: readonly EncoderOffer[],
): PreferredBackend {
  const backend = createBackend(order, {
    device,
    offers,
    onUnavailable: (encoder, reason, remedy) => {
      log[remedy === undefined ? "info" : "warn"]({ encoder, reason, remedy }, "encoder unavailable");
    },
    onPassedOver: (encoder, reason, pauseMs) => {
      const pauseS = pauseMs / 1000;
      log.warn({ encoder, reason, pauseS }, "encoder passed over by new streams; check its driver");
    },
  });
  // The caller that waits for the offers gets the error.
  backend.offers().catch(() => undefined);
  return backend;
}
