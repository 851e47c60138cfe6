/**
 * The process in which encoders are probed (probe.ts): a driver that crashes or hangs here harms nobody else.
 *
 * Arguments: the path of media.node. It receives one message, an array of NativeSettings (native.ts), sends { started: true },
 * and answers each with { index, reason }, without a reason if the encoder works. JavaScript, as it also runs in an uncompiled checkout, and
 * CommonJS, which starts faster.
 */
const { NativeSession, inlinePicture, newBudget } = require(process.argv[2]);

const FRAMES = 3;
/** Whether the frame shall be a key frame: the first, and one that is forced. */
const isKey = (frame) => frame !== 1;
const XR24 = 0x34325258;

/** Black RGB. */
function picture({ width, height }) {
  const planes = [{ resource: 0, offset: 0, stride: width * 4 }];
  const visible = { x: 0, y: 0, width, height };
  return inlinePicture({ width, height, fourcc: XR24, planes, visible }, newBudget(0));
}

/** Opens the encoder and encodes a few frames. Settles with the reason why it does not work, if it does not. */
function probe(settings) {
  return new Promise((resolve) => {
    let reason;
    let packets = 0;
    const session = new NativeSession(settings, (event) => {
      switch (event.kind) {
        case "opened": {
          const black = picture(settings);
          for (let frame = 0; frame < FRAMES; frame++) session.encode(black, frame, isKey(frame));
          session.mark(0);
          break;
        }
        case "packet":
          packets++;
          if (isKey(event.frame) && !event.key)
            reason ??= "it does not make the key frames that are requested";
          break;
        case "open-failed":
          reason = event.message;
          session.close();
          break;
        case "frame-failed":
        case "failed":
          reason ??= event.message;
          break;
        case "passed":
          if (packets === 0) reason ??= "it returned no access unit";
          session.close();
          break;
        case "closed":
          session.join().then(() => resolve(reason));
          break;
      }
    });
  });
}

process.on("message", (all) => {
  process.send({ started: true });
  all.forEach(async (settings, index) => {
    process.send({ index, reason: await probe(settings) });
  });
});
// A hung driver must not outlive the one who asks.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
