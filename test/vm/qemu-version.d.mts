export const MINIMUM_QEMU: string;
export function parseQemuVersion(text: string): string | undefined;
export function isAtLeast(version: string, minimum: string): boolean;
