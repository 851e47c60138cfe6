/** The list of VMs with their streams and screens, each with a thumbnail. */
import type { Body } from "../connection/protocol.ts";
import { make } from "../dom.ts";
import { draw, drawStill } from "./still.ts";

export interface ListedSource {
  readonly id: string;
  readonly kind: "stream" | "head" | "pipeline" | "other";
  readonly vm: string;
  readonly title: string;
  readonly input: boolean;
}

const KINDS: Readonly<Record<ListedSource["kind"], string>> = {
  stream: "Stream from the guest",
  head: "Screen of the VM",
  pipeline: "Pipeline in the guest",
  other: "Source",
};
/** In pixels of the canvas: twice the size on the page, for high-density screens. */
const THUMBNAIL = { width: 448, height: 252 };

interface Row {
  readonly item: HTMLLIElement;
  readonly link: HTMLAnchorElement;
  readonly canvas: HTMLCanvasElement;
  busy: boolean;
}

export class SourceList {
  readonly #root: HTMLElement;
  readonly #rows = new Map<string, Row>();
  #shown: { readonly sources: readonly ListedSource[]; readonly watched: string } | undefined;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  /** Shows the sources by VM, and keeps the thumbnails of those that were listed before. */
  show(sources: readonly ListedSource[], watched: string): void {
    // An element that is inserted again while it is pressed gets no click.
    if (sources === this.#shown?.sources && watched === this.#shown.watched) return;
    this.#shown = { sources, watched };
    for (const id of [...this.#rows.keys()]) {
      if (!sources.some((source) => source.id === id)) this.#rows.delete(id);
    }
    const groups = new Map<string, ListedSource[]>();
    for (const source of sources) groups.set(source.vm, [...(groups.get(source.vm) ?? []), source]);
    const sections = [...groups].map(([vm, members]) => {
      const heading = make("h2", "group-name", vm === "" ? "Without a VM" : vm);
      const items = members.map((source) => this.#row(source, source.id === watched));
      return make("section", "group", heading, make("ul", "group-sources", ...items));
    });
    const focused = [...this.#rows.values()].find(({ link }) => link === document.activeElement);
    this.#root.replaceChildren(...sections);
    // An element that is replaced loses the focus.
    focused?.link.focus({ preventScroll: true });
  }

  /** Copies a source's thumbnail from the element that shows it. */
  copy(id: string, screen: HTMLCanvasElement | HTMLVideoElement): void {
    const row = this.#rows.get(id);
    if (row === undefined) return;
    const isVideo = screen instanceof HTMLVideoElement;
    const [width, height] = isVideo ? [screen.videoWidth, screen.videoHeight] : [screen.width, screen.height];
    draw(row.canvas, screen, width, height);
    row.item.dataset["picture"] = "yes";
  }

  /** Decodes a source's thumbnail; skipped while the previous one is being decoded. */
  async thumbnail({ source, codec, units }: Body<"thumbnail">): Promise<void> {
    const row = this.#rows.get(source);
    if (row === undefined || row.busy) return;
    row.busy = true;
    const isDrawn = await drawStill(row.canvas, codec, units).then(
      () => true,
      () => false,
    );
    row.busy = false;
    // Otherwise the list keeps the placeholder.
    if (isDrawn) row.item.dataset["picture"] = "yes";
  }

  #row(source: ListedSource, watched: boolean): HTMLLIElement {
    const row = this.#rows.get(source.id) ?? this.#newRow(source.id);
    const { item, link, canvas } = row;
    link.replaceChildren(
      make("span", "thumbnail", canvas, make("span", "badge", "Watching")),
      make("span", "source-title", source.title === "" ? source.id : source.title),
      make("span", "source-kind", KINDS[source.kind]),
    );
    item.dataset["source"] = source.id;
    link.ariaCurrent = watched ? "true" : null;
    return item;
  }

  #newRow(id: string): Row {
    const canvas = Object.assign(make("canvas", ""), { ...THUMBNAIL, ariaHidden: "true" });
    const link = Object.assign(make("a", "source"), { href: `#/${id}` });
    const row = { item: make("li", "", link), link, canvas, busy: false };
    this.#rows.set(id, row);
    return row;
  }
}
