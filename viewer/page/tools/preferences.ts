/** What a person chose on this page, kept in the browser. */
export const THEMES = ["system", "light", "dark"] as const;
export const SCALES = ["fit", "original"] as const;

export interface Preferences {
  readonly theme: (typeof THEMES)[number];
  readonly scale: (typeof SCALES)[number];
  readonly statistics: boolean;
}

const KEY = "vsockenc.viewer";
const DEFAULTS: Preferences = { theme: "system", scale: "fit", statistics: false };

/** What was stored, or the defaults where that is unreadable: storage may be switched off, or from another version. */
export function loadPreferences(): Preferences {
  try {
    const { theme, scale, statistics } = JSON.parse(
      localStorage.getItem(KEY) ?? "{}",
    ) as Partial<Preferences>;
    return {
      theme: THEMES.find((name) => name === theme) ?? DEFAULTS.theme,
      scale: SCALES.find((name) => name === scale) ?? DEFAULTS.scale,
      statistics: statistics === true,
    };
  } catch {
    return DEFAULTS;
  }
}

export function storePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Without storage they last as long as the page.
  }
}

/** The next of a list, and the first after the last. */
export function following<T>(values: readonly T[], value: T): T {
  const next = values[(values.indexOf(value) + 1) % values.length];
  return next === undefined ? value : next;
}
