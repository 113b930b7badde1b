/** Server-sent events from pieces of text, by the HTML standard. */

export class EventParser {
  #rest = '';
  #fields = {};
  #data = [];
  #afterReturn = false;

  /** The events that `text` completes, each `{id, event, data, retry}`. */
  feed(text) {
    if (this.#afterReturn && text.startsWith('\n')) text = text.slice(1);
    if (text) this.#afterReturn = text.endsWith('\r');
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) {
      if (line) this.#take(line);
      else this.#finish(events);
    }
    return events;
  }

  #take(line) {
    if (line.startsWith(':')) return;
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') this.#data.push(value);
    else this.#fields[name] = value;
  }

  #finish(events) {
    const { id, event = 'message', retry } = this.#fields;
    if (this.#data.length) {
      events.push({ id, event, data: this.#data.join('\n'), retry: retry && Number(retry) });
    }
    this.#fields = {};
    this.#data = [];
  }
}
