/**
 * The generated codecs, with 64-bit fields as plain numbers.
 *
 * protobufjs makes Long objects of them where the package `long` is installed; every 64-bit field of ours is a
 * byte count or a time and stays below 2^53, which receivers check where a hostile peer could exceed it. This
 * module must therefore be evaluated before the generated one: import from here, never from gen/.
 */
import "./plain-numbers.ts";

export { vsockenc } from "./gen/messages.js";
