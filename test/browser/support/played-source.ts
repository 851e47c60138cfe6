/** A source that plays a recording at a frame rate, or unit by unit through `send`. */
import type { SourceEvents } from "../../../viewer/server/source.ts";
import { TestSource, type TestSourceOptions } from "../../unit/viewer/support/test-source.ts";
import type { Recording } from "./recording.ts";

export interface PlayedSourceOptions extends Omit<TestSourceOptions, "units" | "codec"> {
  readonly recording: Recording;
  /** Absent: units are sent by `send` only. */
  readonly fps?: number;
}

export class PlayedSource extends TestSource {
  readonly recording: Recording;
  readonly #fps: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor({ recording, fps, ...options }: PlayedSourceOptions) {
    super({ vm: "desk", title: options.id ?? "", ...options, ...recording });
    this.recording = recording;
    this.#fps = fps;
  }

  override start(events: SourceEvents): void {
    super.start(events);
    if (this.#fps !== undefined) this.#timer = setInterval(() => this.send(), 1000 / this.#fps);
  }

  /** Sends nothing more by itself. */
  pause(): void {
    clearInterval(this.#timer);
  }

  override stop(): void {
    this.pause();
    super.stop();
  }

  /** Skips to the recording's next key frame. */
  override requestKeyFrame(): void {
    super.requestKeyFrame();
    this.skipToKey();
  }

  /** Sends the next unit; nothing unless the source runs. */
  send(): void {
    if (this.running) this.deliver(1);
  }
}
