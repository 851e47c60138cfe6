/** Typed helpers to create and find elements. */

/** index.html lacks an element that the page needs. */
class MissingElementError extends Error {
  override readonly name = "MissingElementError";
}

/** An element of index.html by its id. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new MissingElementError(`index.html has no ${type.name} #${id}`);
  return element;
}

/** Skips an unchanged text, which screen readers would read again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A new element with a class and content. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  className: string,
  ...content: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  if (className !== "") element.className = className;
  element.append(...content);
  return element;
}
