/** What the platform that the addon was built for does with memory; see portable.test.ts. */
import { closeDescriptor, createMemory, memoryStatus } from "../../../host/native/os-addon.ts";

/**
 * Whether shared memory is a file, as on Linux: the system tells which descriptors are of one memory, and can take the
 * right to write away from one. On Darwin it does neither.
 */
export const memoriesAreFiles = ((): boolean => {
  const memory = createMemory("platform", 1);
  const [first, second] = [memoryStatus(memory), memoryStatus(memory)];
  closeDescriptor(memory);
  return first.identity === second.identity;
})();
