/** One run: what it did and does, why it is where it is, and stopping it. */

import { get, has, path, post } from '../lib/api.js';
import { h, refill, setText, show } from '../lib/dom.js';
import { Run } from '../lib/fold.js';
import { follow } from '../lib/follow.js';
import { counted, duration, plain } from '../lib/format.js';
import { poll } from '../lib/poll.js';
import {
  Status,
  Trouble,
  button,
  chatAddress,
  facts,
  guarded,
  idLink,
  runLink,
  stateOf,
  when,
} from '../parts/bits.js';
import { Connection } from '../parts/connection.js';
import { Frame } from '../parts/frame.js';
import { RunItems } from '../parts/steps.js';

const EXPLAIN_MS = 2_000;
const RETRY_ROUTE = '/v1/runs/{run_id}/retry';

export function runView({ rest: [runId], signal, title }) {
  return new RunView(runId, signal, title).nodes;
}

class RunView {
  constructor(runId, signal, title) {
    Object.assign(this, { runId, signal });
    title('Run');
    this.fold = new Run(runId);
    this.record = null;
    this.status = new Status();
    this.connection = new Connection();
    this.trouble = new Trouble();
    this.name = h('span', {}, 'Run');
    this.figures = h('p', { class: 'figures' });
    this.buttons = h('div', { class: 'buttons' });
    this.why = h('section', { class: 'why', 'aria-label': 'Where it stands' });
    this.place = h('div', {});
    this.frame = new Frame(() => this.#draw(), signal);
    this.#begin();
    this.nodes = [
      h(
        'header',
        { class: 'bar' },
        h('h1', { tabindex: -1 }, this.name, this.status.node),
        this.buttons,
      ),
      h('div', { class: 'under' }, this.figures, this.connection.node),
      this.trouble.node,
      h('div', { class: 'with-side' }, this.place, h('aside', {}, this.why)),
    ];
    this.#follow(title);
  }

  #begin() {
    this.fold = new Run(this.runId);
    this.items = new RunItems(this.fold, { detail: true });
    refill(this.place, this.items.node);
  }

  async #follow(title) {
    try {
      this.record = await get(path`v1/runs/${this.runId}`, {}, this.signal);
    } catch (error) {
      if (this.signal.aborted) return;
      this.trouble.say(error);
      return;
    }
    title(`${this.record.agent_id}, a run`);
    this.#offer();
    this.frame.ask();
    const watcher = {
      onEvents: (events) => this.#take(events),
      onState: (state, refusal) => this.connection.say(state, refusal),
      onRestart: () => this.#begin(),
      isEnd: ({ type, entry }) =>
        type === 'run_finish' && entry.event.termination.type !== 'suspended',
    };
    follow(path`v1/runs/${this.runId}/stream`, { until: 'done' }, watcher, this.signal);
    this.explained = new AbortController();
    const ended = AbortSignal.any([this.signal, this.explained.signal]);
    this.explainNow = poll(
      () => this.#explain(),
      () => EXPLAIN_MS,
      ended,
    );
  }

  #take(events) {
    const before = this.fold.status;
    for (const { entry } of events) this.fold.apply(entry);
    this.frame.ask();
    if (this.fold.status !== before) this.explainNow?.();
  }

  #draw() {
    this.items.update();
    const { fold, record } = this;
    setText(this.name, fold.agentId ?? record?.agent_id ?? 'Run');
    this.status.update(stateOf(fold.status, fold.termination));
    show(this.stop, fold.live);
    this.retry &&
      show(this.retry, !fold.live && stateOf(fold.status, fold.termination) !== 'natural_end');
    refill(this.figures, ...this.#figures());
  }

  *#figures() {
    const { fold, record } = this;
    const { startedAt, finishedAt, tokens } = fold;
    if (startedAt) yield h('span', {}, 'started ', when(startedAt));
    if (startedAt && finishedAt) yield h('span', {}, `took ${duration(finishedAt - startedAt)}`);
    if (fold.steps.size) yield h('span', {}, counted(fold.steps.size, 'step'));
    if (tokens.input + tokens.output)
      yield h('span', {}, counted(tokens.input + tokens.output, 'token'));
    if (record)
      yield h('a', { href: chatAddress(record.agent_id, record.thread_id) }, 'open as a chat');
  }

  // --- what can be done ---------------------------------------------------------------------------

  async #offer() {
    this.stop = button(
      'Stop',
      () => this.#stop(),
      { class: 'danger', hidden: !this.fold.live },
      'stop',
    );
    refill(this.buttons, this.stop);
    if (!(await has('POST', RETRY_ROUTE))) return;
    this.retry = button('Try again', () => this.#retry(), { hidden: true }, 'retry');
    this.buttons.append(this.retry);
    this.frame.ask();
  }

  #stop() {
    return guarded(this.stop, this.trouble, async () => {
      await post(path`v1/runs/${this.runId}/cancel`, { reason: 'stopped on the page' });
      setText(this.stop.lastChild, 'Stopping…');
    });
  }

  #retry() {
    return guarded(this.retry, this.trouble, async () => {
      const again = await post(path`v1/runs/${this.runId}/retry`);
      location.hash = `#/runs/${encodeURIComponent(again.run_id)}`;
    });
  }

  // --- why it is where it is ----------------------------------------------------------------------

  async #explain() {
    const why = await get(path`v1/runs/${this.runId}/explain`, {}, this.signal);
    refill(
      this.why,
      h('h2', {}, 'Where it stands'),
      h('p', { class: 'sentence' }, withTimes(why.summary)),
      next(why),
      this.#facts(why),
    );
    if (why.status === 'done' && !this.fold.live) this.explained.abort();
  }

  #facts(why) {
    const { record } = this;
    return facts([
      [
        'attempts',
        why.attempts > 0 || why.expiries > 0
          ? `${why.attempts} failed, ${why.expiries} lost`
          : null,
      ],
      ['last error', why.last_error],
      ['worker', why.lease_holder],
      ['lease', why.lease_until && when(why.lease_until, (text) => `runs out ${text}`)],
      ['place in line', why.position],
      ['behind', why.blocked_by_run_id && runLink(why.blocked_by_run_id)],
      ['activation', why.activation || null],
      ['delivery', why.dispatch_state],
      ['thread', idLink(`#/runs?thread=${encodeURIComponent(record.thread_id)}`, record.thread_id)],
      ['run', h('code', { class: 'full-id' }, record.run_id)],
      ['parent', record.parent_run_id && runLink(record.parent_run_id)],
      ['retry of', record.retry_of && runLink(record.retry_of)],
      ['came by', `${record.adapter}, ${record.origin}`],
      ...why.tool_calls.map((call) => [
        call.name,
        `${call.status}${call.begun > 1 ? `, begun ${call.begun} times` : ''}`,
      ]),
    ]);
  }
}

function next(why) {
  if (!why.next_step || why.next_step === 'nothing') return null;
  const at = why.next_at && when(why.next_at, (text) => ` (${text})`);
  return h('p', { class: 'quiet' }, `Next: ${why.next_step}`, at);
}

/** The summary's times are epoch milliseconds, and its endings names; people read other kinds. */
function withTimes(summary) {
  const parts = summary.replace(/: ([a-z_]+)$/, (ending) => plain(ending)).split(/\b(\d{13})\b/);
  return parts.map((part, place) => (place % 2 ? when(Number(part)) : part));
}
