import { expect, it } from "vitest";
import type { ToWorker } from "../../../host/workers/messages.ts";
import { RemoteSource } from "../../../host/workers/remote-source.ts";
import type { SourceState } from "../../../viewer/server/source.ts";

it("a fault of the VM is shown in the place of the source's state, while it lasts", () => {
  const source = new RemoteSource({ id: "a/head0", kind: "head", vm: "a", title: "" }, "off", false);
  const shown: SourceState[] = [];
  const sent: ToWorker[] = [];
  const FAULT = { code: "away", text: "restart the VM" } as const;
  source.showFault("restart the VM");
  source.start({ onAccessUnit: () => undefined, onState: (state) => shown.push(state) });
  source.attach((message) => sent.push(message));
  source.receive({ type: "state", source: "a/head0", state: { code: "running" } }, Buffer.alloc(0));
  source.showFault("restart the VM");
  expect(shown).toEqual([FAULT]);
  expect(sent).toEqual([{ type: "watch", source: "a/head0", on: true }]);
  source.showFault(undefined);
  source.showFault("restart the VM");
  source.attach(undefined);
  source.showFault(undefined);
  expect(shown).toEqual([FAULT, { code: "running" }, FAULT, { code: "away", text: "off" }]);
});
