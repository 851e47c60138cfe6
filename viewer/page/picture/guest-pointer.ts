/** Draws the guest's pointer over the picture, for displays whose pictures do not contain it. */
import type { Body } from "../connection/protocol.ts";
import { make } from "../dom.ts";

export interface Size {
  readonly width: number;
  readonly height: number;
}

export class GuestPointer {
  readonly #image = make("img", "guest-pointer");
  /** Covers the picture exactly. */
  readonly layer = make("div", "guest-pointer-layer", this.#image);
  #visible = false;
  /** Position of the image's first pixel, and size of the image, in pixels of the picture. */
  #area = { x: 0, y: 0, width: 0, height: 0 };
  #picture: Size | undefined;

  constructor() {
    this.#image.alt = "";
    this.layer.hidden = true;
  }

  show({ visible, x, y, image }: Body<"cursor">): void {
    this.#visible = visible;
    this.#area = { ...this.#area, x, y };
    if (image) {
      const { width = 0, height = 0, pixels = new Uint8Array(0) } = image;
      this.#area = { x, y, width: width ?? 0, height: height ?? 0 };
      this.#image.src = toUrl(this.#area, pixels ?? new Uint8Array(0));
    }
    this.#layOut();
  }

  /** @param size of the picture, in its own pixels; undefined without a picture */
  setPicture(size: Size | undefined): void {
    this.#picture = size;
    this.#layOut();
  }

  #layOut(): void {
    const picture = this.#picture;
    this.layer.hidden = picture === undefined || !this.#visible;
    if (picture === undefined) return;
    const { x, y, width, height } = this.#area;
    const share = (value: number, whole: number): string => `${(value / whole) * 100}%`;
    this.#image.style.inset = `${share(y, picture.height)} auto auto ${share(x, picture.width)}`;
    this.#image.style.inlineSize = share(width, picture.width);
    this.#image.style.blockSize = share(height, picture.height);
  }
}

function toUrl({ width, height }: Size, pixels: Uint8Array): string {
  const canvas = make("canvas", "");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (context === null || pixels.length !== width * height * 4 || pixels.length === 0) return "";
  context.putImageData(new ImageData(toStraight(pixels), width, height), 0, 0);
  return canvas.toDataURL();
}

/** Divides the colours by alpha: canvases take straight alpha, the protocol has premultiplied. */
function toStraight(pixels: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const straight = new Uint8ClampedArray(pixels);
  for (let at = 0; at < straight.length; at += 4) {
    const alpha = straight[at + 3] ?? 0;
    if (alpha === 0 || alpha === 255) continue;
    for (let colour = at; colour < at + 3; colour += 1)
      straight[colour] = ((pixels[colour] ?? 0) * 255) / alpha;
  }
  return straight;
}
