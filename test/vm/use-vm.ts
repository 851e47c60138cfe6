import { afterAll, beforeAll } from "vitest";
import { Vm, type VmOptions } from "./vm.ts";

/**
 * A guest for all tests of the calling file or describe block.
 *
 * @param options a function for those that are known only when the guest boots
 * @returns the guest, from the first test to the last
 */
export function useVm(options: VmOptions | (() => VmOptions | Promise<VmOptions>)): { readonly vm: Vm } {
  let running: Vm | undefined;
  beforeAll(async () => {
    running = await Vm.boot(typeof options === "function" ? await options() : options);
  });
  afterAll(() => running?.shutdown());
  return {
    get vm(): Vm {
      if (running === undefined) throw new Error("the guest runs during tests, not during their collection");
      return running;
    },
  };
}
