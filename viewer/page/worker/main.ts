/** The worker: access units come in, pictures go to the page's canvas. */

import { Decoder } from "./decoder.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { Painter } from "./painter.ts";

declare const self: DedicatedWorkerGlobalScope;

const tell = (message: FromWorker): void => self.postMessage(message);

const painter = new Painter({
  onPaint: (paint) => tell({ type: "painted", paint }),
  onReplaced: () => tell({ type: "dropped", reason: "replaced by a newer one", count: 1 }),
});

const decoder = new Decoder({
  onFrame(frame, decoded) {
    tell({ type: "decoded", queueLength: decoder.queueLength });
    if (decoded.unit.replay) frame.close();
    else painter.show(frame, decoded);
  },
  onDrop: (reason, count) => tell({ type: "dropped", reason, count }),
  onKeyFrameNeeded: () => tell({ type: "keyFrameNeeded" }),
  onFailure: (text) => tell({ type: "failed", text }),
  onDecoder: (name) => tell({ type: "decoder", name }),
});

self.onmessage = ({ data: message }: MessageEvent<ToWorker>) => {
  switch (message.type) {
    case "canvas":
      painter.use(message.canvas);
      break;
    case "configure":
      decoder.configure(message.configuration);
      break;
    case "unit":
      decoder.decode(message.unit);
      break;
    case "reset":
      decoder.reset();
      painter.clear();
      break;
    case "probe":
      painter.probe(message.points);
      break;
  }
};
