/**
 * KeyboardEvent.code (W3C "UI Events KeyboardEvent code Values") → KEY_* of linux/input-event-codes.h. Both name a key by
 * its position on the keyboard, so the guest's own layout decides its meaning.
 */

/** Keys with consecutive codes, by the code of the first. */
const RUNS: Readonly<Record<number, string>> = {
  1: "Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal Backspace",
  15: "Tab KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Enter",
  29: "ControlLeft KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote",
  42: "ShiftLeft Backslash KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight",
  55: "NumpadMultiply AltLeft Space CapsLock F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock",
  71: "Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 Numpad6 NumpadAdd",
  79: "Numpad1 Numpad2 Numpad3 Numpad0 NumpadDecimal",
  85: "Lang5", // KEY_ZENKAKUHANKAKU
  86: "IntlBackslash F11 F12 IntlRo", // from KEY_102ND
  90: "Lang3 Lang4 Convert KanaMode NonConvert", // KATAKANA, HIRAGANA, HENKAN, KATAKANAHIRAGANA, MUHENKAN
  96: "NumpadEnter ControlRight NumpadDivide PrintScreen AltRight", // PrintScreen: KEY_SYSRQ
  102: "Home ArrowUp PageUp ArrowLeft ArrowRight End ArrowDown PageDown Insert Delete",
  113: "AudioVolumeMute AudioVolumeDown AudioVolumeUp Power NumpadEqual",
  119: "Pause",
  121: "NumpadComma Lang1 Lang2 IntlYen MetaLeft MetaRight", // Lang1: KEY_HANGEUL, Lang2: KEY_HANJA
  127: "ContextMenu", // KEY_COMPOSE, which PC keyboards send for the menu key
  129: "Again Props Undo",
  133: "Copy Open Paste Find Cut Help",
  142: "Sleep WakeUp",
  158: "BrowserBack BrowserForward",
  163: "MediaTrackNext MediaPlayPause MediaTrackPrevious MediaStop",
  172: "BrowserHome BrowserRefresh",
  179: "NumpadParenLeft NumpadParenRight",
  183: "F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F24",
  217: "BrowserSearch",
};

export const KEY_CODES: ReadonlyMap<string, number> = new Map(
  Object.entries(RUNS).flatMap(([first, keys]) =>
    keys.split(" ").map((key, index) => [key, Number(first) + index] as const),
  ),
);
