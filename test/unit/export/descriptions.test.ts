import { expect, it } from "vitest";
import type { ExportedResource } from "../../../host/export/client.ts";
import { Descriptions, MAX_REMEMBERED_EXTENTS } from "../../../host/export/descriptions.ts";

const COUNT = MAX_REMEMBERED_EXTENTS / 4;

function described(resource: number): ExportedResource {
  const extents = Array.from({ length: COUNT }, () => ({ memory: 1, offset: 0, length: 1 }));
  const size = { generation: resource, width: 1, height: 1, format: 1 };
  return { resource, ...size, extents, memories: new Map(), pages: { extents: [] } };
}

it("descriptions are remembered up to a number of extents, the newest ones", () => {
  const descriptions = new Descriptions();
  for (let resource = 1; resource <= 4; resource++) descriptions.add(described(resource), 0);
  expect(descriptions.find(1, 0)).toBeDefined();
  descriptions.add(described(5), 0);
  expect([1, 2, 3, 4, 5].map((resource) => descriptions.find(resource, 0)?.generation)).toEqual([
    ...[undefined, 2, 3, 4, 5],
  ]);
  descriptions.forget(3);
  descriptions.add(described(6), 10);
  expect(descriptions.find(2, 0)).toBeDefined();
  expect([descriptions.find(6, 10), descriptions.find(6, 11), descriptions.find(6, 0)]).toEqual([
    ...[expect.anything(), undefined, undefined],
  ]);
});
