/** The buttons of the bar above the picture, and their state. */
import { byId } from "../dom.ts";

const THEMES = ["system", "light", "dark"] as const;

/** The user's choices on this page, stored in the browser. */
export interface Preferences {
  readonly theme: (typeof THEMES)[number];
  readonly scale: "fit" | "original";
  readonly statistics: boolean;
}

const KEY = "vsockenc.viewer";

/** The stored choices; the defaults where they cannot be read: storage may be disabled, or from another version. */
function loadPreferences(): Preferences {
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

function storePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Without storage they last as long as the page.
  }
}

/** As in style/layout.css: on a narrow screen the list covers the picture. */
const NARROW = "(max-width: 760px)";

export interface ToolEvents {
  onPreferences(preferences: Preferences): void;
  onControl(on: boolean): void;
  onFullScreen(): void;
}

export class Tools {
  readonly #events: ToolEvents;
  readonly #list = byId("list-button", HTMLButtonElement);
  readonly #control = byId("control-button", HTMLButtonElement);
  readonly #scale = byId("scale-button", HTMLButtonElement);
  readonly #statistics = byId("statistics-button", HTMLButtonElement);
  readonly #theme = byId("theme-button", HTMLButtonElement);
  readonly #fullScreen = byId("full-screen-button", HTMLButtonElement);
  #preferences = loadPreferences();

  constructor(events: ToolEvents) {
    this.#events = events;
    this.#fullScreen.hidden = !document.fullscreenEnabled;
    this.#fullScreen.addEventListener("click", () => events.onFullScreen());
    this.#control.addEventListener("click", () => events.onControl(!isPressed(this.#control)));
    this.#list.addEventListener("click", () => this.#showList(!isPressed(this.#list, "aria-expanded")));
    this.#scale.addEventListener("click", () =>
      this.#change(({ scale }) => ({ scale: scale === "fit" ? "original" : "fit" })),
    );
    this.#theme.addEventListener("click", () =>
      this.#change(({ theme }) => ({ theme: THEMES[THEMES.indexOf(theme) + 1] ?? THEMES[0] })),
    );
    this.#statistics.addEventListener("click", () =>
      this.#change(({ statistics }) => ({ statistics: !statistics })),
    );
    this.#showList(!window.matchMedia(NARROW).matches);
  }

  /** Applies the preferences to the page. */
  apply(): void {
    const { theme, scale, statistics } = this.#preferences;
    document.documentElement.dataset["theme"] = theme;
    this.#theme.title = `Colours: ${theme}`;
    this.#theme.setAttribute("aria-label", this.#theme.title);
    this.#scale.setAttribute("aria-pressed", String(scale === "original"));
    this.#statistics.setAttribute("aria-pressed", String(statistics));
    this.#events.onPreferences(this.#preferences);
  }

  /** Shows whether the source takes input, and whether it is sent. */
  showControl(possible: boolean, on: boolean): void {
    this.#control.hidden = !possible;
    this.#control.setAttribute("aria-pressed", String(on));
    this.#control.title = on
      ? "Pointer and keyboard go to the guest; Ctrl+Alt+Shift releases them"
      : "Send pointer and keyboard to the guest";
  }

  focusControl(): void {
    this.#control.focus();
  }

  /** A source was chosen: hides a list that covers the picture. */
  chosen(): void {
    if (window.matchMedia(NARROW).matches) this.#showList(false);
  }

  #showList(open: boolean): void {
    document.body.dataset["list"] = open ? "open" : "closed";
    this.#list.setAttribute("aria-expanded", String(open));
  }

  #change(change: (now: Preferences) => Partial<Preferences>): void {
    this.#preferences = { ...this.#preferences, ...change(this.#preferences) };
    storePreferences(this.#preferences);
    this.apply();
  }
}

function isPressed(button: HTMLButtonElement, attribute = "aria-pressed"): boolean {
  return button.getAttribute(attribute) === "true";
}
