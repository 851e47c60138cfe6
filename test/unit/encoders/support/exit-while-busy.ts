/** A process of session.test.ts: it ends, with status 7, while a session encodes. */
import { LibavcodecBackend } from "../../../../host/encoders/libavcodec.ts";
import { Canvas, configurationOf, placement } from "./encode.ts";
import { Recorder } from "./recorder.ts";

const configuration = configurationOf({ width: 1280, height: 720 });
const canvas = await Canvas.create(1280, 720, placement(configuration));
const session = await new LibavcodecBackend("libx264").open(configuration, new Recorder().listener);
for (let frame = 0; frame < 8; frame++) {
  session.encode(canvas.picture, { frame, ptsNs: frame, durationNs: 0, forceKeyFrame: true });
}
process.exit(7);
