/** Calls between the page and the worker that decodes: the name of a method and its arguments. */
import type { PlayerCommands, PlayerEvents } from "../player/unit.ts";

/** The methods of the worker; `use` comes first. */
export interface WorkerCommands extends PlayerCommands {
  use(canvas: OffscreenCanvas): void;
}

type Method = (...args: never[]) => void;

export type CallOf<Methods extends { [Name in keyof Methods]: Method }> = {
  [Name in keyof Methods]: { readonly name: Name; readonly args: Parameters<Methods[Name]> };
}[keyof Methods];

export type ToWorker = CallOf<WorkerCommands>;
export type FromWorker = CallOf<PlayerEvents>;

/** Makes a call that the other side has sent. */
export function receive<Methods extends { [Name in keyof Methods]: Method }>(
  target: Methods,
  { name, args }: CallOf<Methods>,
): void {
  target[name].apply(target, args);
}
