/** Shows the statistics over the picture. */
import type { Body } from "../connection/protocol.ts";
import { make } from "../dom.ts";
import type { Configuration } from "../player/unit.ts";
import { STAGES } from "./stages.ts";
import type { Snapshot, Spread } from "./statistics.ts";

export interface OverlayContent {
  readonly page: Snapshot;
  /** The server's own, once a second. */
  readonly server: Body<"statistics"> | undefined;
  /** E.g. "WebCodecs, in software". */
  readonly decoder: string;
  readonly configuration: Configuration | undefined;
}

const TIER_TEXTS: Readonly<Record<string, string>> = {
  resource: "resource (the guest's own memory)",
  "resource-gather": "resource-gather (copied from the guest's memory)",
  "resource-read": "resource-read (copied from the GPU's picture)",
  inline: "inline (pixels sent through the port)",
};
/** Of a 60 Hz screen: the reference line of the curve of paint intervals. */
const REFRESH_MS = 1000 / 60;
const CURVE = { width: 240, height: 44 };
const SVG = "http://www.w3.org/2000/svg";

export function showOverlay(root: HTMLElement, content: OverlayContent): void {
  const { page, server } = content;
  const { painted, periodMs, interval } = page;
  const rate = make("strong", "", perSecond(painted, periodMs));
  const between = interval === undefined ? "no interval yet" : `every ${spreadText(interval)} ms`;
  root.replaceChildren(
    make("p", "", rate, " paints per second ", make("small", "", between)),
    curve(page.intervals),
    rows(facts(content)),
    make("h3", "", "Time per frame, in ms"),
    stageTable(page),
    make("h3", "", "Dropped frames"),
    rows(drops(page, server)),
  );
}

type Fact = readonly [name: string, value: string];

function facts({ page, server, decoder, configuration }: OverlayContent): Fact[] {
  const { roundTripMs: roundTrip } = page;
  const { width, height, codec } = configuration ?? {};
  const picture = codec === undefined ? "none yet" : `${width} × ${height}, ${codec}`;
  const target =
    server === undefined || server.bitrateKbps === 0 ? "" : ` of ${megabits(server.bitrateKbps)}`;
  const arrivals = `${perSecond(page.received, page.periodMs)} per second`;
  return [
    ["Picture", picture],
    ["Encoder", server?.encoder || "unknown"],
    ["Source tier", TIER_TEXTS[server?.tier ?? ""] ?? (server?.tier || "unknown")],
    ["Bit rate", `${megabits(page.kbps)}${target} Mbit/s`],
    ["Arrivals", page.bursts === 0 ? arrivals : `${arrivals}, ${page.bursts} bursts`],
    ["Round trip", roundTrip === undefined ? "not measured yet" : `${milliseconds(roundTrip)} ms`],
    ["Decoder", decoder],
    ["Viewers", server === undefined ? "unknown" : String(server.viewers)],
  ];
}

function drops({ drops: inPage }: Snapshot, server: OverlayContent["server"]): Fact[] {
  const all: Fact[] = [
    ...Object.entries(server?.dropped ?? {}).map(([why, count]): Fact => [`Guest: ${why}`, String(count)]),
    ["Server: this viewer was too slow", String(server?.skipped ?? 0)],
    ...Object.entries(inPage).map(([why, count]): Fact => [`Page: ${why}`, String(count)]),
  ];
  const some = all.filter(([, count]) => Number(count) > 0);
  return some.length === 0 ? [["None", "0"]] : some;
}

function rows(content: readonly Fact[]): HTMLElement {
  const cells = content.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]);
  return make("dl", "facts", ...cells);
}

/** Stages that are not measured have a row too, so that the sum does not look complete. */
function stageTable({ stages, total }: Snapshot): HTMLTableElement {
  const longest = Math.max(...Object.values(stages).map(({ p50 }) => p50), Number.EPSILON);
  const header = make("tr", "", ...["Stage", "", "p50", "p95"].map((text) => heading("col", text)));
  const body = STAGES.map(({ name, label, where, what }) => {
    const times = stages[name];
    const bars = make("td", "bars");
    if (times !== undefined) {
      const bar = make("span", `share ${where}`);
      bar.style.inlineSize = `${(100 * times.p50) / longest}%`;
      bars.append(bar);
    }
    const row = stageRow(label, bars, times);
    row.title = times === undefined ? `${what}: not measured` : what;
    return row;
  });
  const sum = stageRow("Frame to paint", make("td", ""), total);
  const parts = [make("thead", "", header), make("tbody", "", ...body), make("tfoot", "", sum)];
  return make("table", "stages", ...parts);
}

function stageRow(label: string, bars: HTMLElement, times: Spread | undefined): HTMLTableRowElement {
  const text = (ms: number | undefined): string => (ms === undefined ? "–" : milliseconds(ms));
  const cells = [times?.p50, times?.p95].map((ms) => make("td", "", text(ms)));
  return make("tr", "", heading("row", label), bars, ...cells);
}

function heading(scope: "row" | "col", text: string): HTMLElement {
  const cell = make("th", "", text);
  cell.scope = scope;
  return cell;
}

/** The latest intervals between paints as a curve, with the reference line of a 60 Hz screen. */
function curve(intervals: readonly number[]): SVGSVGElement {
  const { width, height } = CURVE;
  const draw = <Name extends "svg" | "polyline">(name: Name, attributes: Record<string, string>) => {
    const element = document.createElementNS(SVG, name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    return element;
  };
  const label = { role: "img", "aria-label": "Intervals between the latest paints" };
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "curve", ...label });
  const longest = Math.max(2 * REFRESH_MS, ...intervals);
  const y = (ms: number): string => (height - 1 - ((height - 2) * ms) / longest).toFixed(1);
  const step = width / Math.max(intervals.length - 1, 1);
  const points = intervals.map((ms, i) => `${(i * step).toFixed(1)},${y(ms)}`).join(" ");
  const reference = `0,${y(REFRESH_MS)} ${width},${y(REFRESH_MS)}`;
  svg.append(draw("polyline", { class: "reference", points: reference }), draw("polyline", { points }));
  return svg;
}

const perSecond = (count: number, periodMs: number): string => {
  const rate = (count * 1000) / periodMs;
  return rate < 9.95 ? String(Number(rate.toFixed(1))) : rate.toFixed(0);
};
const milliseconds = (ms: number): string => (ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0));
const spreadText = ({ p50, p95 }: Spread): string => `${milliseconds(p50)} (p95 ${milliseconds(p95)})`;
const megabits = (kbps: number): string => (kbps / 1000).toFixed(kbps < 10_000 ? 2 : 1);
