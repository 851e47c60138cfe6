/** The statistics over the picture: what explains how it looks. */
import { make } from "../dom.ts";
import { STAGES } from "./stages.ts";
import type { Snapshot, Spread } from "./statistics.ts";

/** What the server says of the stream, once a second. */
export interface ServerStatistics {
  readonly encoder: string;
  readonly tier: string;
  readonly bitrateKbps: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly viewers: number;
  readonly skipped: number;
}

export interface OverlayContent {
  readonly page: Snapshot;
  readonly server: ServerStatistics | undefined;
  /** E.g. "WebCodecs, in software". */
  readonly decoder: string;
  readonly codec: string;
  readonly size: { readonly width: number; readonly height: number } | undefined;
}

const TIER_TEXTS: Readonly<Record<string, string>> = {
  resource: "resource (the guest's own memory)",
  "resource-gather": "resource-gather (the guest's memory, collected)",
  inline: "inline (pixels through the port)",
};
/** Of a 60 Hz screen: the line that the curve of paint intervals is compared with. */
const REFRESH_MS = 1000 / 60;
const CURVE = { width: 240, height: 44 };
const SVG = "http://www.w3.org/2000/svg";

export class Overlay {
  readonly #root: HTMLElement;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  show(content: OverlayContent): void {
    const { page, server } = content;
    this.#root.replaceChildren(
      this.#headline(page),
      curve(page.intervals),
      rows(facts(content)),
      make("h3", "", "Time of a frame, in ms"),
      stageTable(page),
      make("h3", "", "Frames left out"),
      rows(drops(page, server)),
    );
  }

  #headline({ painted, periodMs, interval }: Snapshot): HTMLElement {
    const rate = make("strong", "", perSecond(painted, periodMs));
    const between = interval === undefined ? "no interval yet" : `every ${spreadText(interval)} ms`;
    return make("p", "headline", rate, " paints a second ", make("small", "", between));
  }
}

type Fact = readonly [name: string, value: string];

function facts({ page, server, decoder, codec, size }: OverlayContent): Fact[] {
  const picture = size === undefined ? "none yet" : `${size.width} × ${size.height}, ${codec}`;
  const target =
    server === undefined || server.bitrateKbps === 0 ? "" : ` of ${megabits(server.bitrateKbps)}`;
  const arrivals = `${perSecond(page.received, page.periodMs)} a second`;
  return [
    ["Picture", picture],
    ["Encoder", server?.encoder || "unknown"],
    ["Source tier", TIER_TEXTS[server?.tier ?? ""] ?? (server?.tier || "unknown")],
    ["Bit rate", `${megabits(page.kbps)}${target} Mbit/s`],
    ["Arrivals", page.bursts === 0 ? arrivals : `${arrivals}, ${page.bursts} bursts`],
    [
      "Round trip",
      page.roundTripMs === undefined ? "not measured yet" : `${milliseconds(page.roundTripMs)} ms`,
    ],
    ["Decoder", decoder],
    ["Viewers", server === undefined ? "unknown" : String(server.viewers)],
  ];
}

function drops(page: Snapshot, server: ServerStatistics | undefined): Fact[] {
  const all: (readonly [string, number | undefined])[] = [
    ...Object.entries(server?.dropped ?? {}).map(([reason, count]) => [`Guest: ${reason}`, count] as const),
    ["Server: this viewer was slow", server?.skipped],
    ...Object.entries(page.drops).map(([reason, count]) => [`Page: ${reason}`, count] as const),
  ];
  const some = all.filter(([, count]) => (count ?? 0) > 0);
  return some.length === 0 ? [["None", "0"]] : some.map(([reason, count]) => [reason, String(count)]);
}

function rows(content: readonly Fact[]): HTMLElement {
  return make(
    "dl",
    "facts",
    ...content.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]),
  );
}

/** Every stage has its row, also one that nobody measures: the sum is not to look like more than it is. */
function stageTable({ stages, total }: Snapshot): HTMLTableElement {
  const longest = Math.max(...Object.values(stages).map(({ p50 }) => p50), Number.EPSILON);
  const header = make(
    "tr",
    "",
    ...["Stage", "", "p50", "p95"].map((text) => {
      const cell = make("th", "", text);
      cell.scope = "col";
      return cell;
    }),
  );
  const body = STAGES.map(({ name, label, where, what }) => {
    const times = stages[name];
    const bars = make("td", "bars");
    if (times !== undefined) {
      const bar = make("span", `share ${where}`);
      bar.style.inlineSize = `${(100 * times.p50) / longest}%`;
      bars.append(bar);
    }
    const row = stageRow(label, bars, times);
    row.title = times === undefined ? `${what}: not known` : what;
    return row;
  });
  return make(
    "table",
    "stages",
    make("thead", "", header),
    make("tbody", "", ...body),
    make("tfoot", "", stageRow("Frame to paint", make("td", ""), total)),
  );
}

function stageRow(label: string, bars: HTMLElement, times: Spread | undefined): HTMLTableRowElement {
  const name = make("th", "", label);
  name.scope = "row";
  const cells = [times?.p50, times?.p95].map((ms) =>
    make("td", "", ms === undefined ? "–" : milliseconds(ms)),
  );
  return make("tr", "", name, bars, ...cells);
}

/** The latest intervals between paints as a curve, with a line at a 60 Hz screen's refresh. */
function curve(intervals: readonly number[]): SVGSVGElement {
  const { width, height } = CURVE;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", "curve");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Intervals between the latest paints");
  const longest = Math.max(2 * REFRESH_MS, ...intervals);
  const y = (ms: number): number => height - 1 - ((height - 2) * ms) / longest;
  const line = (name: string, points: string): void => {
    const element = document.createElementNS(SVG, "polyline");
    element.setAttribute("class", name);
    element.setAttribute("points", points);
    svg.append(element);
  };
  line("reference", `0,${y(REFRESH_MS)} ${width},${y(REFRESH_MS)}`);
  const step = width / Math.max(intervals.length - 1, 1);
  line("intervals", intervals.map((ms, i) => `${(i * step).toFixed(1)},${y(ms).toFixed(1)}`).join(" "));
  return svg;
}

const perSecond = (count: number, periodMs: number): string => {
  const rate = (count * 1000) / periodMs;
  return rate < 9.95 ? String(Number(rate.toFixed(1))) : rate.toFixed(0);
};
const milliseconds = (ms: number): string => (ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0));
const spreadText = ({ p50, p95 }: Spread): string => `${milliseconds(p50)} (p95 ${milliseconds(p95)})`;
const megabits = (kbps: number): string => (kbps / 1000).toFixed(kbps < 10_000 ? 2 : 1);
