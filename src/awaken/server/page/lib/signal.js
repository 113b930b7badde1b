/** A value that others can watch. */
export class Signal {
  #value;
  #watchers = new Set();

  constructor(value) {
    this.#value = value;
  }

  get() {
    return this.#value;
  }

  /** Change it; watchers are called when it is another one. */
  set(value) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  /** Call `watcher` with the value, now and whenever it changes, until `signal` is aborted. */
  watch(watcher, signal) {
    if (signal?.aborted) return;
    this.#watchers.add(watcher);
    signal?.addEventListener('abort', () => this.#watchers.delete(watcher));
    watcher(this.#value);
  }
}

/** Wait; an abort ends it early and without a complaint. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done);
  });
}
