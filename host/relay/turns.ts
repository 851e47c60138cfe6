/** The turns of the peers of all links. A peer whose turn is over is not read. */
import { Turns } from "../../common/turns.ts";

/** Time of a peer in one iteration of the event loop; a step that has begun is finished. */
export const TURN_MS = 1;

/** Those of this process's thread. */
export const turns = new Turns(TURN_MS);
