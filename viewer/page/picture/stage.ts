/** The area that shows the picture: scale, full screen, the guest's pointer, notices. */
import { byId, setText } from "../dom.ts";
import type { Preferences } from "../tools/tools.ts";
import { GuestPointer, type Size } from "./guest-pointer.ts";
import type { Notice } from "./notice.ts";

const ACTIONS: Readonly<Record<NonNullable<Notice["action"]>, string>> = {
  reconnect: "Connect now",
  retry: "Try again",
};

export class Stage {
  readonly #root = byId("stage", HTMLElement);
  readonly #screen = byId("screen", HTMLDivElement);
  readonly #notice = byId("notice", HTMLDivElement);
  readonly #title = byId("notice-title", HTMLHeadingElement);
  readonly #text = byId("notice-text", HTMLParagraphElement);
  readonly #action = byId("notice-action", HTMLButtonElement);
  readonly #hint = byId("hint", HTMLParagraphElement);
  #picture: HTMLElement | undefined;
  readonly pointer = new GuestPointer();
  #size: Size | undefined;
  #scale: Preferences["scale"] = "fit";

  constructor(onAction: () => void) {
    this.#action.addEventListener("click", onAction);
    new ResizeObserver(() => this.#layOut()).observe(this.#root);
  }

  toggleFullScreen(): void {
    // Rejected without a click or key press, which needs no handling.
    const change =
      document.fullscreenElement === null ? this.#root.requestFullscreen() : document.exitFullscreen();
    change.catch(() => undefined);
  }

  use(picture: HTMLElement): void {
    this.#picture = picture;
    this.#screen.replaceChildren(picture, this.pointer.layer);
    this.#layOut();
  }

  /** @param size of the picture, in pixels; undefined without a picture */
  setSize(size: Size | undefined): void {
    this.#size = size;
    this.pointer.setPicture(size);
    this.#layOut();
  }

  setScale(scale: Preferences["scale"]): void {
    this.#scale = scale;
    this.#layOut();
  }

  /** @param notice covers the picture, which is then not current */
  show(notice: Notice | undefined, hint: string | undefined): void {
    this.#notice.hidden = notice === undefined;
    if (notice !== undefined) {
      this.#notice.dataset["mood"] = notice.mood;
      setText(this.#title, notice.title);
      setText(this.#text, notice.text);
      this.#action.hidden = notice.action === undefined;
      if (notice.action !== undefined) setText(this.#action, ACTIONS[notice.action]);
    }
    this.#hint.hidden = hint === undefined;
    setText(this.#hint, hint ?? "");
    this.#picture?.toggleAttribute("data-stale", notice !== undefined);
  }

  #layOut(): void {
    const picture = this.#picture;
    if (picture === undefined) return;
    picture.hidden = this.#size === undefined;
    if (this.#size === undefined) return;
    const { width, height } = this.#size;
    const { clientWidth, clientHeight } = this.#root;
    // One pixel of the picture is one pixel of the screen, not one CSS pixel.
    const original = 1 / window.devicePixelRatio;
    const factor = this.#scale === "fit" ? Math.min(clientWidth / width, clientHeight / height) : original;
    for (const { style } of [picture, this.pointer.layer]) {
      style.inlineSize = `${width * factor}px`;
      style.blockSize = `${height * factor}px`;
    }
  }
}
