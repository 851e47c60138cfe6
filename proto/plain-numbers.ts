/** Makes protobufjs decode 64-bit fields as numbers; see protobuf.ts. */
import protobuf from "protobufjs/minimal.js";

// protobufjs uses `null` for "no Long class"; its types know only the class.
(protobuf.util as { Long: unknown }).Long = null;
protobuf.configure();
