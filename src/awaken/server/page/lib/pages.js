/**
 * A list that is refreshed from its top, and longer on demand. What was fetched below the first page
 * stays as it was, until so much is new that there might be a gap: then it is dropped.
 */

import { get } from './api.js';

export class Pages {
  constructor(where, query, idOf) {
    Object.assign(this, { where, query, idOf });
    this.items = [];
    this.next = null;
    this.deep = false;
  }

  async refresh(signal) {
    const page = await get(this.where, this.query, signal);
    const known = new Map(page.items.map((item) => [this.idOf(item), item]));
    const joins = this.deep && this.items.some((item) => known.has(this.idOf(item)));
    const older = joins ? this.items.filter((item) => !known.has(this.idOf(item))) : [];
    this.items = [...page.items, ...older];
    if (!joins) {
      this.next = page.next_cursor;
      this.deep = false;
    }
  }

  async more(signal) {
    const page = await get(this.where, { ...this.query, cursor: this.next }, signal);
    const known = new Set(this.items.map(this.idOf));
    this.items = [...this.items, ...page.items.filter((item) => !known.has(this.idOf(item)))];
    this.next = page.next_cursor;
    this.deep = true;
  }
}
