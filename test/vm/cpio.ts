/**
 * A cpio archive (newc) of a few files, in memory. The kernel unpacks several archives in a row from one initrd, so
 * our own small scripts can be joined to the image's drivers at each boot, and changing a script makes no new image.
 */

export interface CpioFile {
  name: string;
  content: Buffer;
  executable: boolean;
}

/** The archive's bytes. */
export function makeCpio(files: readonly CpioFile[]): Buffer {
  const entries = files.map((file, index) =>
    entry(file.name, file.content, (file.executable ? 0o755 : 0o644) | 0o100000, index + 1),
  );
  return Buffer.concat([...entries, entry("TRAILER!!!", Buffer.alloc(0), 0, 0)]);
}

function entry(name: string, content: Buffer, mode: number, inode: number): Buffer {
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
  return Buffer.concat([pad(Buffer.from(header, "latin1")), pad(content)]);
}

/** To a multiple of four, as the format wants it. */
function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
