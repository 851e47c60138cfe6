/** Charts for docs/performance.md as SVG text: groups of bars, or lines over evenly spaced points. */

export interface Chart {
  /** Name of the file, without ".svg". */
  readonly file: string;
  readonly title: string;
  readonly kind: "bars" | "lines";
  /** Of the vertical axis, unit included. */
  readonly yLabel: string;
  /** Below the horizontal axis, one for each value of a series. */
  readonly labels: readonly string[];
  readonly series: readonly { readonly label: string; readonly values: readonly number[] }[];
}

const WIDTH = 720;
const HEIGHT = 300;
const PLOT = { left: 70, right: 700, top: 60, bottom: 260 };
/** Distinct for colour-blind readers (Okabe and Ito). */
const COLOURS = ["#0072b2", "#e69f00", "#009e73"];
const MOST_LABELS = 12;

type Attributes = Readonly<Record<string, string | number>>;

function element(name: string, attributes: Attributes, content = ""): string {
  const text = Object.entries(attributes).map(([key, value]) => {
    return ` ${key}="${typeof value === "number" ? Number(value.toFixed(1)) : value}"`;
  });
  const escaped = content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
  return `<${name}${text.join("")}>${escaped}</${name}>`;
}

const label = (x: number, y: number, anchor: string, content: string, more: Attributes = {}): string =>
  element("text", { x, y, "text-anchor": anchor, ...more }, content);

/** 1, 2 or 5 times a power of ten, so that about five steps reach `most`. */
function step(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 5));
  return power * ([1, 2, 5].find((factor) => factor * power * 5 >= most) ?? 10);
}

const rounded = (value: number): string => Number(value.toPrecision(3)).toLocaleString("en");

export function renderSvg({ kind, title, yLabel, labels, series }: Chart): string {
  const most = Math.max(...series.flatMap(({ values }) => values)) || 1;
  const unit = step(most);
  const top = Math.ceil(most / unit) * unit;
  const slot = (PLOT.right - PLOT.left) / Math.max(1, labels.length);
  const barWidth = Math.min(48, (slot * 0.8) / series.length);
  const y = (value: number): number => PLOT.bottom - (value / top) * (PLOT.bottom - PLOT.top);
  const middle = (index: number): number => PLOT.left + (index + 0.5) * slot;
  const parts = [label(WIDTH / 2, 20, "middle", title, { "font-weight": "bold" })];
  for (let tick = 0; tick <= top + unit / 2; tick += unit) {
    parts.push(element("path", { d: `M${PLOT.left} ${y(tick).toFixed(1)}H${PLOT.right}`, stroke: "#ddd" }));
    parts.push(label(PLOT.left - 6, y(tick) + 4, "end", rounded(tick)));
  }
  const height = (PLOT.top + PLOT.bottom) / 2;
  parts.push(label(16, height, "middle", yLabel, { transform: `rotate(-90 16 ${height})` }));
  const every = Math.ceil(labels.length / MOST_LABELS);
  labels.forEach((text, index) => {
    if (index % every === 0) parts.push(label(middle(index), PLOT.bottom + 18, "middle", text));
  });
  series.forEach(({ label: name, values }, index) => {
    const fill = COLOURS[index % COLOURS.length] ?? "";
    const x = PLOT.left + (index * (PLOT.right - PLOT.left)) / series.length;
    parts.push(element("rect", { x, y: 32, width: 10, height: 10, fill }), label(x + 14, 41, "start", name));
    if (kind === "lines") {
      const points = values.map((value, at) => `${middle(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      parts.push(element("polyline", { points, fill: "none", stroke: fill, "stroke-width": 2 }));
      return;
    }
    values.forEach((value, at) => {
      const left = middle(at) + (index - series.length / 2) * barWidth;
      const size = { width: barWidth - 2, height: PLOT.bottom - y(value) };
      parts.push(element("rect", { x: left, y: y(value), ...size, fill }));
      parts.push(label(left + barWidth / 2 - 1, y(value) - 3, "middle", rounded(value)));
    });
  });
  const attributes = `viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11"`;
  const background = element("rect", { width: WIDTH, height: HEIGHT, fill: "#fff" });
  // The title names the picture for those who cannot see it.
  const lines = [element("title", {}, title), background, ...parts].join("\n");
  return `<svg xmlns="http://www.w3.org/2000/svg" ${attributes}>\n${lines}\n</svg>\n`;
}
