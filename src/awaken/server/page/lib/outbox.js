/**
 * What was written into a thread and is not part of it yet. It is kept in the tab, so a reload, or a
 * server that is away, loses nothing; a message has an id, so sending it again does no harm.
 */

import { Refused, newId, send } from './api.js';
import { pause } from './signal.js';

const PLACE = 'awaken.outbox.';
const LONGEST_WAIT_MS = 5_000;

export const SENDING = 'sending';
export const ACCEPTED = 'accepted';
export const REJECTED = 'rejected';

export class Outbox {
  constructor(threadId, agentId, onchange, signal) {
    Object.assign(this, { threadId, agentId, onchange, signal });
    this.entries = JSON.parse(sessionStorage.getItem(PLACE + threadId) ?? '[]');
  }

  /** Send what an earlier page could not. */
  resume() {
    for (const entry of this.entries) if (entry.state === SENDING) this.#deliver(entry);
  }

  /** Write `text`; when the thread is busy `onBusy` says what becomes of what runs. */
  write(text, onBusy) {
    const entry = { id: newId(), text, onBusy, state: SENDING, at: Date.now() };
    this.entries.push(entry);
    this.#changed();
    return this.#deliver(entry);
  }

  /** Forget those that became messages of the thread. */
  settle(messageIds) {
    this.#keep((entry) => !messageIds.has(entry.id));
  }

  drop(id) {
    this.#keep((entry) => entry.id !== id);
  }

  /** A run is over. What it was to read and did not goes on with the run that took its place. */
  ended(runId, termination) {
    for (const entry of this.entries.filter((each) => each.runId === runId)) {
      if (termination.type === 'superseded') entry.runId = termination.by_run_id;
      else Object.assign(entry, { state: REJECTED, problem: 'its run was ended before it began' });
      this.#changed();
    }
  }

  /** What the server knows of a run; one that has read its messages has no need of ours. */
  know(record) {
    if (record.input_message_seqs.length) this.#keep((entry) => entry.runId !== record.run_id);
    else if (record.status === 'done') this.ended(record.run_id, record.termination);
  }

  #keep(wanted) {
    const left = this.entries.filter(wanted);
    if (left.length === this.entries.length) return;
    this.entries = left;
    this.#changed();
  }

  #changed() {
    if (this.entries.length)
      sessionStorage.setItem(PLACE + this.threadId, JSON.stringify(this.entries));
    else sessionStorage.removeItem(PLACE + this.threadId);
    this.onchange();
  }

  async #deliver(entry) {
    for (let waitMs = 500; !this.signal.aborted; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
      try {
        entry.runId = await this.#post(entry);
        entry.state = ACCEPTED;
        entry.problem = undefined;
        return this.#changed();
      } catch (error) {
        if (this.signal.aborted) return undefined;
        if (!(error instanceof Refused)) throw error;
        entry.problem = error.message;
        if (!error.passing && error.status !== 401) entry.state = REJECTED;
        this.#changed();
        if (!error.passing) return undefined; // with another key the view, and this, begins anew
        await pause(waitMs, this.signal);
      }
    }
    return undefined;
  }

  /** Accepted once the headers come. The thread's own stream brings the events, so this one is left. */
  async #post({ id, text, onBusy }) {
    const body = {
      agent_id: this.agentId,
      thread_id: this.threadId,
      messages: [{ role: 'user', content: text, id }],
      on_busy: onBusy,
    };
    const left = new AbortController();
    const signal = AbortSignal.any([this.signal, left.signal]);
    const response = await send('POST', 'v1/runs', { body, signal });
    const runId = response.headers.get('awaken-run-id');
    left.abort();
    return runId;
  }
}
