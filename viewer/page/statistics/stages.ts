/** The stages of a frame's way to the screen. Page and worker share this. */

/** In a frame's order. */
export const STAGES = [
  {
    name: "capture",
    label: "Capture",
    where: "host",
    what: "from the capture, the change, or the order to read what a GPU has rendered, to the encoder's queue",
  },
  { name: "queue", label: "Queue", where: "host", what: "waiting for the encoder" },
  { name: "convert", label: "Convert", where: "host", what: "colour conversion" },
  { name: "encode", label: "Encode", where: "host", what: "the encoder" },
  { name: "deliver", label: "Deliver", where: "host", what: "from the encoder to this viewer's connection" },
  { name: "network", label: "Network", where: "network", what: "from the server to the page, estimated" },
  { name: "wait", label: "Wait", where: "page", what: "from the page to its decoder" },
  { name: "decode", label: "Decode", where: "page", what: "the browser's decoder" },
  { name: "paint", label: "Paint", where: "page", what: "from the decoder to the screen's refresh" },
] as const;

export type StageName = (typeof STAGES)[number]["name"];

/** The known durations of one frame, in ms; a stage that is not measured is absent. */
export type FrameTimes = Readonly<Partial<Record<StageName, number>>>;
