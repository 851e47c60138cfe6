/**
 * The generated codecs, with 64-bit fields as plain numbers. Import them from here, never from gen/: plain-numbers.ts
 * must be evaluated first.
 *
 * protobufjs would make Long objects if the package `long` is installed. Every 64-bit field is a byte count or a time
 * and stays below 2^53; receivers check that where a hostile peer could exceed it.
 */
import "./plain-numbers.ts";

export { vsockenc } from "./gen/messages.js";
