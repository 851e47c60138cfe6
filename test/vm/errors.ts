/** Errors of the real-guest harness. */

/** A failure of a virtual machine; `detail` (the end of a log) becomes part of the message. */
export class VmError extends Error {
  constructor(message: string, detail = "") {
    super(detail.trim() === "" ? message : `${message}\n${detail.trimEnd().replaceAll(/^/gm, "  | ")}`);
    this.name = new.target.name;
  }
}

/** The machine lacks a program, a mirror or a build. */
export class RequirementError extends VmError {}

/** The guest's image, or its own software, could not be built. */
export class ImageError extends VmError {}

/** A wait timed out. */
export class VmTimeoutError extends VmError {}

/** The guest's kernel panicked. */
export class GuestPanicError extends VmError {}

/** The guest restarted while a command ran in it. */
export class GuestRebootError extends VmError {}

/** QEMU, the GPU process or the relay ended unexpectedly. */
export class ProcessEndedError extends VmError {}

/** QEMU rejected a QMP command, or the connection to it ended. */
export class QmpError extends VmError {}

/** The last lines of a text, for an error message. */
export function tail(text: string, lines = 30): string {
  return text.trimEnd().split(/\r?\n/).slice(-lines).join("\n");
}
