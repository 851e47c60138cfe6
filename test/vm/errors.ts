/** Errors of the real-guest harness. Every message says what to do. */

/** What went wrong with a virtual machine; `detail` (a log's tail) is part of the message. */
export class VmError extends Error {
  constructor(message: string, detail?: string) {
    super(detail === undefined || detail.trim() === "" ? message : `${message}\n${indent(detail)}`);
    this.name = new.target.name;
  }
}

/** Something the machine lacks: a program, a mirror, a build. */
export class RequirementError extends VmError {}

/** The guest's image or the guest's own software could not be made. */
export class ImageError extends VmError {}

/** A wait ended without what was waited for. */
export class VmTimeoutError extends VmError {}

/** The guest's kernel panicked. */
export class GuestPanicError extends VmError {}

/** The guest restarted while a command ran in it. */
export class GuestRebootError extends VmError {}

/** QEMU, or a process of ours beside it, ended by itself. */
export class ProcessEndedError extends VmError {}

/** QEMU refused a QMP command, or the connection to it ended. */
export class QmpError extends VmError {}

function indent(text: string): string {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `  | ${line}`)
    .join("\n");
}

/** The last `lines` lines of a text: what an error message quotes. */
export function tail(text: string, lines = 30): string {
  return text.trimEnd().split(/\r?\n/).slice(-lines).join("\n");
}
