/** The figures of the demo, and their table. */

export interface DemoFigures {
  readonly framesIn: number;
  readonly framesOut: number;
  readonly keyFrames: number;
  /** How the host reached the pixels. */
  readonly tier: string;
  readonly encoder: string;
  readonly width: number;
  readonly height: number;
  /** Raw bytes on the port after the opening, divided by the frames. */
  readonly bytesPerFrame: { readonly guestToHost: number; readonly hostToGuest: number };
  /** Pixels sent over the port: bytes of Data messages from guest to host. */
  readonly pixelBytesOverPort: number;
  /** Frames by the guest's wall clock, from the first drawn to the last encoded. */
  readonly fps: number;
  /** Percentiles. */
  readonly stagesMs: Readonly<Record<string, { readonly p50: number; readonly p95: number }>>;
  /** Mean time in which the guest drew a frame. */
  readonly drawingMs: number;
  /** Of the decoded stream against the same frames drawn on the host, as RGB, in dB. */
  readonly psnr: { readonly average: number; readonly minimum: number };
  readonly machine: { readonly qemu: string; readonly accelerator: string; readonly guestKernel: string };
}

const MINIMUM_PSNR_DB = 30;

/** The defects that the figures show, one a line. @param expected how the host should have reached the pixels */
export function shortcomings(figures: DemoFigures, expected: string): string[] {
  const { framesIn, framesOut, tier, psnr, pixelBytesOverPort } = figures;
  return [
    ...(framesOut === framesIn ? [] : [`${framesIn} frames went in, ${framesOut} came out`]),
    ...(tier === expected ? [] : [`the source tier was ${tier}, not ${expected}`]),
    ...(psnr.minimum >= MINIMUM_PSNR_DB ? [] : [`the worst frame has a PSNR of ${psnr.minimum} dB`]),
    ...(pixelBytesOverPort === 0 ? [] : [`${pixelBytesOverPort} bytes of pixels went over the port`]),
  ];
}

/** The table that the demo prints. */
export function renderTable(figures: DemoFigures): string {
  const number = (value: number, digits = 0): string =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const { framesIn, framesOut, bytesPerFrame, drawingMs, psnr, machine } = figures;
  const pictureBytes = figures.width * figures.height * 4;
  const rows: [string, string][] = [
    ["frames in / out", `${framesIn} / ${framesOut}`],
    ["key frames", String(figures.keyFrames)],
    ["encoder", figures.encoder],
    ["source tier", figures.tier],
    [
      "guest→host bytes a frame",
      `${number(bytesPerFrame.guestToHost, 1)} (the picture has ${number(pictureBytes)})`,
    ],
    ["host→guest bytes a frame", number(bytesPerFrame.hostToGuest, 1)],
    ["pixel bytes over the port", number(figures.pixelBytesOverPort)],
    ["frames a second", `${number(figures.fps, 1)} (${machine.accelerator})`],
    ...Object.entries(figures.stagesMs).map(([stage, { p50, p95 }]): [string, string] => [
      `${stage}, p50 / p95`,
      `${number(p50, 2)} / ${number(p95, 2)} ms`,
    ]),
    ["drawing in the guest, mean", `${number(drawingMs, 2)} ms`],
    ["PSNR, mean / worst frame", `${number(psnr.average, 1)} / ${number(psnr.minimum, 1)} dB`],
    ["guest", `Linux ${machine.guestKernel}, QEMU ${machine.qemu}`],
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`).join("\n");
}
