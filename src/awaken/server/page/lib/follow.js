/**
 * Following an event log. The connection may break, the server may be restarted, the computer may
 * sleep: we come back with the last id, and the server sends what comes after it.
 *
 * A tab that is not looked at gives its connection back after a while: a browser has only a few for
 * each server.
 */

import { Refused, send } from './api.js';
import { key } from './key.js';
import { pause } from './signal.js';
import { EventParser } from './sse.js';

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5_000;
/** An idle stream says something every 15 s, unless the server was told otherwise. */
const SILENCE_MS = 60_000;
const HIDDEN_MS = 60_000;

/** How the connection is. */
export const CONNECTING = 'connecting';
export const LIVE = 'live';
export const RECONNECTING = 'reconnecting';
export const PAUSED = 'paused';
export const ENDED = 'ended';
export const REFUSED = 'refused';

/**
 * Follow `where` until its end, a refusal, or the abort of `signal`.
 *
 * `watcher.onEvents(events)` gets each event once and in order, as `{type, entry}`;
 * `watcher.onState(state, refusal)` is told how the connection is;
 * `watcher.onRestart()` is told that the log is another one by now, and begins anew;
 * `watcher.isEnd(event)` says which event is the last.
 */
export function follow(where, query, watcher, signal) {
  return new Follower(where, query, watcher, signal).run();
}

class Follower {
  #cursor = null;
  #waitMs = FIRST_WAIT_MS;
  #over = false;
  #begun = false;

  constructor(where, query, watcher, signal) {
    Object.assign(this, { where, query, watcher, signal });
  }

  async run() {
    while (true) {
      await this.#connect();
      if (this.#over || this.signal.aborted) return;
      await this.#wait();
      if (this.signal.aborted) return;
    }
  }

  async #connect() {
    this.#tell(this.#begun ? RECONNECTING : CONNECTING);
    const attempt = new AbortController();
    const signal = AbortSignal.any([this.signal, attempt.signal]);
    const headers = this.#cursor === null ? {} : { 'last-event-id': this.#cursor };
    try {
      await this.#read(
        await send('GET', this.where, { query: this.query, headers, signal }),
        attempt,
      );
    } catch (error) {
      if (error instanceof Refused && !error.passing && !this.signal.aborted)
        await this.#refused(error);
    } finally {
      attempt.abort();
    }
  }

  async #read(response, attempt) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    const watch = new Watch(attempt);
    this.#begun = true;
    this.#tell(LIVE);
    try {
      while (!this.#over) {
        const { value, done } = await reader.read();
        if (done) return;
        watch.heard();
        this.#waitMs = FIRST_WAIT_MS;
        this.#take(parser.feed(value));
      }
    } finally {
      watch.end();
    }
  }

  #take(frames) {
    const events = [];
    for (const frame of frames) {
      if (frame.retry) this.#waitMs = frame.retry;
      if (frame.event === 'reconnect' || frame.event === 'thread_deleted') continue;
      const event = { type: frame.event, entry: JSON.parse(frame.data) };
      if (frame.id !== undefined) this.#cursor = frame.id;
      events.push(event);
      this.#over ||= Boolean(this.watcher.isEnd?.(event));
    }
    if (events.length && !this.signal.aborted) this.watcher.onEvents(events);
    if (this.#over) this.#tell(ENDED);
  }

  async #refused(refusal) {
    const old = refusal.code === 'events_expired' && this.#cursor !== null;
    if (refusal.code === 'cursor_ahead' || old) {
      this.#cursor = null;
      this.watcher.onRestart?.();
      return;
    }
    this.#tell(REFUSED, refusal);
    if (refusal.status === 401) await this.#anotherKey();
    else this.#over = true;
  }

  /** Until it is worth trying again: a while, longer each time, or until the tab is looked at. */
  async #wait() {
    const early = new AbortController();
    const signal = AbortSignal.any([this.signal, early.signal]);
    window.addEventListener('online', () => early.abort(), { signal });
    if (document.hidden) {
      this.#tell(PAUSED);
      await whenSeen(signal);
    } else {
      this.#tell(RECONNECTING);
      await pause(this.#waitMs, signal);
    }
    early.abort();
    this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
  }

  #anotherKey() {
    const refused = key.get();
    return new Promise((resolve) => {
      key.watch((value) => value !== refused && resolve(), this.signal);
      this.signal.addEventListener('abort', resolve);
    });
  }

  #tell(state, refusal) {
    if (!this.signal.aborted) this.watcher.onState?.(state, refusal);
  }
}

/** Breaks a connection that fell silent, and one that nobody looks at. */
class Watch {
  constructor(attempt) {
    this.attempt = attempt;
    this.onVisibility = () => this.look();
    document.addEventListener('visibilitychange', this.onVisibility);
    this.heard();
    this.look();
  }

  heard() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.attempt.abort(), SILENCE_MS);
  }

  look() {
    clearTimeout(this.unseen);
    if (document.hidden) this.unseen = setTimeout(() => this.attempt.abort(), HIDDEN_MS);
  }

  end() {
    clearTimeout(this.silence);
    clearTimeout(this.unseen);
    document.removeEventListener('visibilitychange', this.onVisibility);
  }
}

function whenSeen(signal) {
  return new Promise((resolve) => {
    const look = () => !document.hidden && resolve();
    document.addEventListener('visibilitychange', look, { signal });
    signal.addEventListener('abort', resolve);
  });
}
