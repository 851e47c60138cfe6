/** A head of a VM as a source for viewers: encoded on the host while watched, without software in the guest. */
import type { SourceEvents, SourceStatistics, ViewerSource } from "../../viewer/server/source.ts";
import { type HeadOptions, HeadRun } from "./head-run.ts";

export class HeadSource implements ViewerSource {
  readonly kind = "head";
  readonly id: string;
  readonly vm: string;
  readonly title: string;
  readonly #options: HeadOptions;
  #run: HeadRun | undefined;

  constructor(vm: string, options: HeadOptions) {
    this.vm = vm;
    this.id = `${vm}/head${options.head}`;
    this.title = `Head ${options.head}`;
    this.#options = options;
  }

  start(events: SourceEvents): void {
    this.#run = new HeadRun(this.#options, events);
  }

  stop(): void {
    this.#run?.stop();
    this.#run = undefined;
  }

  requestKeyFrame(): void {
    this.#run?.requestKeyFrame();
  }

  setBitrate(kbps: number): void {
    this.#run?.setBitrate(kbps);
  }

  statistics(): SourceStatistics {
    const { encoder = "", tier = "", bitrateKbps = 0, dropped = 0 } = this.#run?.facts ?? {};
    return { encoder, tier, bitrateKbps, dropped: { encoder: dropped } };
  }
}
