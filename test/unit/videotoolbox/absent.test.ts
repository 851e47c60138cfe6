/** A machine without VideoToolbox. */
import { describe, expect, it } from "vitest";
import { createBackend } from "../../../host/encoders/index.ts";
import { hasVideoToolbox } from "../../../host/encoders/native.ts";
import { Picture, PictureBudget, SurfaceUnsupportedError } from "../../../host/native/picture.ts";
import { configurationOf } from "../encoders/support/encode.ts";
import { Recorder } from "../encoders/support/recorder.ts";

describe.skipIf(hasVideoToolbox())("without VideoToolbox", () => {
  it("the back end offers nothing, and reports the reason when it is requested", async () => {
    const reported: string[] = [];
    const backend = createBackend(["videotoolbox"], {
      onUnavailable: (encoder, reason) => reported.push(`${encoder}: ${reason}`),
    });
    expect(await backend.offers()).toEqual([]);
    expect(reported).toEqual(["videotoolbox: it needs macOS: this host's native addon was built without it"]);
    await expect(backend.open(configurationOf(), new Recorder().listener)).rejects.toThrow(
      "no encoder for h264 320x240: videotoolbox: it needs macOS: this host's native addon was built without it",
    );
  });

  it("a surface is rejected", async () => {
    const planes = [{ memory: { surface: 5 }, offset: 0, stride: 256 }];
    const visible = { x: 0, y: 0, width: 64, height: 64 };
    const map = Picture.map(
      { width: 64, height: 64, fourcc: 0x34325258, planes, visible },
      new PictureBudget(0),
    );
    await expect(map).rejects.toThrow(SurfaceUnsupportedError);
    await expect(map).rejects.toThrow(/IOSurface 5, which needs macOS/);
  });
});
