/** A process of session.test.ts: it ends, with status 7, while a session encodes. */
import { Canvas, configurationOf, openSession, requestOf } from "./encode.ts";

const canvas = await Canvas.create(1280, 720);
const { session } = await openSession(configurationOf({ width: 1280, height: 720 }));
for (let frame = 0; frame < 8; frame++) session.encode(canvas.picture, requestOf(frame, true));
process.exit(7);
