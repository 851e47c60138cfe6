import { describe, expect, it } from "vitest";
import { whyUnconfined } from "../../../host/native/sandbox.ts";
import { workerRules } from "../../../host/workers/sandbox.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { attempts, REFUSED } from "../../support/forbidden.ts";

const rules = workerRules(["libx264"]);

describe.skipIf(whyUnconfined(rules) !== undefined)("a worker's sandbox", () => {
  const folder = temporaryFolder();

  it("refuses files, programs, sockets and other processes", async () => {
    expect(await attempts(folder, () => rules, "worker")).toEqual(REFUSED);
  });

  it("has a part that holds from the process's start", async () => {
    expect(await attempts(folder, () => rules, "none")).toMatchObject({
      ...{ read: "EACCES", write: "EACCES", passwords: "EACCES" },
      ...{ "own UNIX server": "EACCES", "UNIX server elsewhere": "EACCES" },
    });
  });
});
