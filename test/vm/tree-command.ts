/** Programs of another Debian, in a root folder of its own. */
import { asRoot } from "./image.ts";

/** What every program needs of this machine; the window system's socket is in /tmp. */
const MACHINE_FOLDERS = ["/dev", "/proc", "/tmp"];

/** Arguments: how many folders, the root folder, those folders, a command that runs there. */
const SCRIPT = `
folders=$1
tree=$2
shift 2
while [ "$folders" -gt 0 ]; do
  mkdir -p "$tree$1"
  mount --rbind "$1" "$tree$1"
  shift
  folders=$((folders - 1))
done
exec chroot "$tree" "$@"`;

/**
 * The words before a command that runs it with `tree` as its root folder. The process that is started becomes the
 * command; its mounts end with it.
 *
 * @param folders of this machine, absolute, which the command sees at the same paths
 */
export function treeCommand(tree: string, folders: readonly string[]): string[] {
  const all = [...MACHINE_FOLDERS, ...folders];
  return [...asRoot("--mount"), "sh", "-euc", SCRIPT, "sh", String(all.length), tree, ...all];
}
