/** Charts as SVG text: grouped bars and lines, enough for the page docs/performance.md. */

interface ChartBase {
  /** Name of the file, without ".svg". */
  readonly file: string;
  readonly title: string;
  /** Of the vertical axis, unit included. */
  readonly yLabel: string;
  /** A bound, drawn across. */
  readonly bound?: { readonly value: number; readonly label: string };
}

export interface BarChart extends ChartBase {
  readonly kind: "bars";
  readonly series: readonly string[];
  readonly groups: readonly { readonly label: string; readonly values: readonly number[] }[];
}

export interface LineChart extends ChartBase {
  readonly kind: "lines";
  readonly xLabel: string;
  readonly lines: readonly {
    readonly label: string;
    readonly points: readonly { readonly x: number; readonly y: number }[];
  }[];
}

export type Chart = BarChart | LineChart;

const WIDTH = 720;
const HEIGHT = 320;
const PLOT = { left: 70, right: 700, top: 60, bottom: 260 };
/** Distinct for colour-blind readers too (Okabe and Ito). */
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
const colour = (index: number): string => COLOURS[index % COLOURS.length] ?? "#000";
const place = (value: number): string => value.toFixed(1);

function text(x: number, y: number, content: string, more = ""): string {
  return `<text x="${place(x)}" y="${place(y)}" ${more}>${escaped(content)}</text>`;
}

/** A round number of 1, 2 or 5 times a power of ten, so that about five steps reach `most`. */
function step(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 5));
  return power * ([1, 2, 5].find((factor) => factor * power * 5 >= most) ?? 10);
}

const shortNumber = (value: number): string => Number(value.toPrecision(6)).toLocaleString("en");

/** The frame, the vertical axis from 0 and the bound; `y` gives a value's place. */
function scaffold(chart: Chart, values: readonly number[]) {
  const most = Math.max(...values, chart.bound?.value ?? 0) || 1;
  const unit = step(most);
  const top = Math.ceil(most / unit) * unit;
  const y = (value: number): number => PLOT.bottom - (value / top) * (PLOT.bottom - PLOT.top);
  const parts = [text(WIDTH / 2, 20, chart.title, 'text-anchor="middle" font-weight="bold"')];
  for (let tick = 0; tick <= top + unit / 2; tick += unit) {
    parts.push(
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${place(y(tick))}" y2="${place(y(tick))}" stroke="#ddd"/>`,
      text(PLOT.left - 6, y(tick) + 4, shortNumber(tick), 'text-anchor="end"'),
    );
  }
  const middle = (PLOT.top + PLOT.bottom) / 2;
  parts.push(text(16, middle, chart.yLabel, `text-anchor="middle" transform="rotate(-90 16 ${middle})"`));
  if (chart.bound !== undefined) {
    const at = y(chart.bound.value);
    parts.push(
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${place(at)}" y2="${place(at)}" stroke="#d00" stroke-dasharray="6 3"/>`,
      text(PLOT.right, at - 4, chart.bound.label, 'text-anchor="end" fill="#d00"'),
    );
  }
  return { y, parts };
}

function legend(labels: readonly string[]): string[] {
  const width = (PLOT.right - PLOT.left) / Math.max(labels.length, 1);
  return labels.flatMap((label, index) => {
    const x = PLOT.left + index * width;
    return [
      `<rect x="${place(x)}" y="32" width="10" height="10" fill="${colour(index)}"/>`,
      text(x + 14, 41, label),
    ];
  });
}

function bars(chart: BarChart): string[] {
  const { y, parts } = scaffold(
    chart,
    chart.groups.flatMap(({ values }) => values),
  );
  const groupWidth = (PLOT.right - PLOT.left) / chart.groups.length;
  const width = Math.min(48, (groupWidth * 0.8) / chart.series.length);
  chart.groups.forEach(({ label, values }, group) => {
    const middle = PLOT.left + (group + 0.5) * groupWidth;
    values.forEach((value, index) => {
      const x = middle + (index - values.length / 2) * width;
      const height = PLOT.bottom - y(value);
      parts.push(
        `<rect x="${place(x)}" y="${place(y(value))}" width="${place(width - 2)}" height="${place(height)}" fill="${colour(index)}"/>`,
        text(
          x + width / 2 - 1,
          y(value) - 3,
          shortNumber(Number(value.toPrecision(3))),
          'text-anchor="middle"',
        ),
      );
    });
    parts.push(text(middle, PLOT.bottom + 18, label, 'text-anchor="middle"'));
  });
  return [...parts, ...legend(chart.series)];
}

function lines(chart: LineChart): string[] {
  const points = chart.lines.flatMap((line) => line.points);
  const { y, parts } = scaffold(
    chart,
    points.map((point) => point.y),
  );
  const last = Math.max(1, ...points.map((point) => point.x));
  const x = (value: number): number => PLOT.left + (value / last) * (PLOT.right - PLOT.left);
  for (let tick = 0; tick <= last; tick += step(last)) {
    parts.push(text(x(tick), PLOT.bottom + 18, shortNumber(tick), 'text-anchor="middle"'));
  }
  parts.push(text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 38, chart.xLabel, 'text-anchor="middle"'));
  chart.lines.forEach((line, index) => {
    const path = line.points.map((point) => `${place(x(point.x))},${place(y(point.y))}`).join(" ");
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour(index)}" stroke-width="2"/>`);
  });
  return [...parts, ...legend(chart.lines.map(({ label }) => label))];
}

export function renderSvg(chart: Chart): string {
  const parts = chart.kind === "bars" ? bars(chart) : lines(chart);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<title>${escaped(chart.title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}
