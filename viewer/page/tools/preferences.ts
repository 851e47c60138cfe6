/** The user's choices on this page, stored in the browser. */
export const THEMES = ["system", "light", "dark"] as const;

export interface Preferences {
  readonly theme: (typeof THEMES)[number];
  readonly scale: "fit" | "original";
  readonly statistics: boolean;
}

const KEY = "vsockenc.viewer";

/** The stored choices; the defaults where they cannot be read: storage may be disabled, or from another version. */
export function loadPreferences(): Preferences {
  let stored: Partial<Preferences> = {};
  try {
    stored = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>;
  } catch {
    // The defaults apply.
  }
  return {
    theme: THEMES.find((name) => name === stored.theme) ?? "system",
    scale: stored.scale === "original" ? "original" : "fit",
    statistics: stored.statistics === true,
  };
}

export function storePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Without storage they last as long as the page.
  }
}
