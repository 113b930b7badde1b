/**
 * Elements and text, and nothing else: no module of this page parses HTML, so what an agent says can
 * only ever become text. The server's policy (Trusted Types) makes the browser enforce it.
 */

/** An element: `h('p', {class: 'x', onclick: f}, 'text', child)`. Empty children are left out. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

const SVG = 'http://www.w3.org/2000/svg';

/** The same for drawings. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProp(element, name, value);
  append(element, children);
  return element;
}

function setProp(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
  else if (name === 'value' || name === 'checked') element[name] = value;
  else if (name === 'href') element.setAttribute(name, safeAddress(value));
  else element.setAttribute(name, value === true ? '' : value);
}

/** Only places that cannot run code: this page, and the web. */
export function safeAddress(address) {
  const { protocol } = new URL(address, document.baseURI);
  return protocol === 'http:' || protocol === 'https:' ? address : '#';
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === '') continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put `children` in the place of what `element` holds. */
export function refill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** Set the text of an element, unless it says that already: selections survive. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide. */
export function show(element, shown) {
  element.hidden = !shown;
}

/**
 * Children that follow a list. Each item has a part `{node, update(item)}`, made once for its key; so
 * what a user types into one survives when the list is refreshed.
 */
export class Keyed {
  constructor(element, keyOf, make) {
    this.element = element;
    this.keyOf = keyOf;
    this.make = make;
    this.parts = new Map();
  }

  update(items) {
    const wanted = new Set(items.map(this.keyOf));
    for (const [key, part] of this.parts) {
      if (wanted.has(key)) continue;
      part.node.remove();
      this.parts.delete(key);
    }
    let place = this.element.firstChild;
    for (const item of items) {
      const part = this.part(item);
      if (part.node === place) place = place.nextSibling;
      else this.element.insertBefore(part.node, place);
      part.update?.(item);
    }
  }

  part(item) {
    const key = this.keyOf(item);
    if (!this.parts.has(key)) this.parts.set(key, this.make(item));
    return this.parts.get(key);
  }
}
