/** The key that is sent with every request. It lives as long as the tab, and in this tab only. */

import { Signal } from './signal.js';

const PLACE = 'awaken.key';

export const key = new Signal(sessionStorage.getItem(PLACE) ?? '');

/** A request was refused for want of a (good) key: the reason, until another key is set. */
export const keyTrouble = new Signal(null);

export function setKey(text) {
  const value = text.trim();
  if (value) sessionStorage.setItem(PLACE, value);
  else sessionStorage.removeItem(PLACE);
  keyTrouble.set(null);
  key.set(value);
}

/** The header, where there is a key. */
export function authorization() {
  return key.get() ? { authorization: `Bearer ${key.get()}` } : {};
}
