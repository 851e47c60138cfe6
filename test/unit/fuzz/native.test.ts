/** Short runs of the native fuzz targets, from the committed corpus and with a fixed seed. */
import { beforeAll } from "vitest";
import { buildTargets } from "../../fuzz/fuzz.ts";
import { BUILD_HANG_MS } from "../../support/hang.ts";
import { surviveAMinute } from "./minute.ts";

beforeAll(() => buildTargets(), BUILD_HANG_MS);
surviveAMinute("native");
