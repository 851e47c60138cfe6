/** The worker: decodes access units and paints the pictures on the page's canvas. */
import type { PlayerEvents } from "../player/unit.ts";
import { Decoder } from "./decoder.ts";
import { type FromWorker, receive, type ToWorker, type WorkerCommands } from "./messages.ts";
import { Painter } from "./painter.ts";

declare const self: DedicatedWorkerGlobalScope;

const post = (message: FromWorker): void => self.postMessage(message);

const events: PlayerEvents = {
  onDecoded: (...args) => post({ name: "onDecoded", args }),
  onPaint: (...args) => post({ name: "onPaint", args }),
  onDrop: (...args) => post({ name: "onDrop", args }),
  onKeyFrameNeeded: (...args) => post({ name: "onKeyFrameNeeded", args }),
  onFailure: (...args) => post({ name: "onFailure", args }),
  onDecoder: (...args) => post({ name: "onDecoder", args }),
};
const painter = new Painter(events);
const decoder = new Decoder(events, (frame, decoded) => {
  events.onDecoded(decoder.queueLength);
  if (decoded.unit.replay) frame.close();
  else painter.show(frame, decoded);
});

const commands: WorkerCommands = {
  use: (canvas) => painter.use(canvas),
  configure: (configuration) => decoder.configure(configuration),
  decode: (unit) => decoder.decode(unit),
  reset() {
    decoder.reset();
    painter.clear();
  },
  probe: (points) => painter.probe(points),
};

self.onmessage = ({ data }: MessageEvent<ToWorker>) => receive(commands, data);
