/** What did not work: deliveries that were given up, and runs that failed for good. */

import { get, has, path, post } from '../lib/api.js';
import { Keyed, h, refill, show } from '../lib/dom.js';
import { plain } from '../lib/format.js';
import { Pages } from '../lib/pages.js';
import { poll } from '../lib/poll.js';
import { Status, Trouble, button, empty, guarded, runLink, stateOf, when } from '../parts/bits.js';

const EVERY_MS = 5_000;
const LETTERS = '/v1/mailbox/dead-letters';
const FAILED = new Set(['error', 'stopped', 'blocked']);
/** How many ended runs are looked through at a time. */
const PAGE = 200;

export function failedView({ signal, title }) {
  title('Failed');
  const letters = h('section', {});
  addLetters(letters, signal);
  return [
    h('header', { class: 'bar' }, h('h1', { tabindex: -1 }, 'Failed')),
    letters,
    failedRuns(signal),
  ];
}

// --- dead letters -----------------------------------------------------------------------------------

async function addLetters(section, signal) {
  if (!(await has('GET', LETTERS)) || signal.aborted) return;
  const can = {
    requeue: await has('POST', `${LETTERS}/{dispatch_id}/requeue`),
    discard: await has('POST', `${LETTERS}/{dispatch_id}/discard`),
  };
  const list = h('ul', { class: 'lines' });
  const keyed = new Keyed(
    list,
    (letter) => letter.dispatch_id,
    (letter) => new LetterRow(letter, can, () => again()),
  );
  const trouble = new Trouble();
  const nothing = empty('No dead letters.');
  show(nothing, false);
  const again = poll(
    async () => {
      const { items } = await get('v1/mailbox/dead-letters', { limit: 100 }, signal);
      keyed.update(items);
      show(nothing, !items.length);
    },
    () => EVERY_MS,
    signal,
    (error) => trouble.say(error),
  );
  refill(
    section,
    h('h2', {}, 'Dead letters'),
    h(
      'p',
      { class: 'quiet' },
      'Deliveries that were given up. They are kept for a while, to be looked at.',
    ),
    trouble.node,
    list,
    nothing,
  );
}

class LetterRow {
  constructor(letter, can, again) {
    const trouble = new Trouble();
    const act = (name, words, props) => {
      const pressed = button(
        words,
        () =>
          guarded(pressed, trouble, async () => {
            await post(path`v1/mailbox/dead-letters/${letter.dispatch_id}/${name}`);
            again();
          }),
        props,
      );
      return pressed;
    };
    const reason = letter.last_error ?? letter.reason;
    this.requeue = can.requeue && act('requeue', 'Requeue', {});
    this.retried = h('span', { class: 'words' });
    this.node = h(
      'li',
      { class: 'line', 'data-dispatch': letter.dispatch_id },
      h(
        'span',
        { class: 'main' },
        h('strong', {}, runLink(letter.run_id)),
        h(
          'span',
          { class: 'words' },
          reason ? plain(reason) : 'given up',
          ` · attempt ${letter.attempt + 1}`,
        ),
        this.retried,
        trouble.node,
      ),
      h(
        'span',
        { class: 'at' },
        when(letter.finished_at ?? letter.updated_at ?? letter.created_at),
      ),
      h(
        'span',
        { class: 'buttons' },
        this.requeue,
        can.discard && act('discard', 'Discard', { class: 'danger' }),
      ),
    );
  }

  /** What was taken up again stays in the list, with the run that took its place. */
  update({ retried_by: by }) {
    if (this.requeue) show(this.requeue, !by);
    refill(this.retried, ...(by ? ['Tried again: ', runLink(by)] : []));
  }
}

// --- failed runs ------------------------------------------------------------------------------------

function failedRuns(signal) {
  const pages = new Pages('v1/runs', { status: 'done', limit: PAGE }, (run) => run.run_id);
  const list = h('ul', { class: 'lines' });
  const can = {};
  const keyed = new Keyed(
    list,
    (run) => run.run_id,
    (run) => new FailedRow(run, can),
  );
  const trouble = new Trouble();
  const nothing = empty();
  const more = button('Look further back', () =>
    guarded(more, trouble, async () => {
      await pages.more(signal);
      draw();
    }),
  );
  show(nothing, false);
  show(more, false);
  function draw() {
    const failed = pages.items.filter((run) => FAILED.has(run.termination?.type));
    keyed.update(failed);
    show(more, Boolean(pages.next));
    show(nothing, !failed.length);
    refill(
      nothing,
      pages.next ? `None among the latest ${pages.items.length} runs.` : 'No run failed.',
    );
  }
  poll(
    async () => {
      can.retry ??= await has('POST', '/v1/runs/{run_id}/retry');
      await pages.refresh(signal);
      draw();
    },
    () => EVERY_MS,
    signal,
    (error) => trouble.say(error),
  );
  return h('section', {}, h('h2', {}, 'Failed runs'), trouble.node, list, nothing, more);
}

class FailedRow {
  constructor(run, can) {
    const { code, message, reason } = run.termination;
    const trouble = new Trouble();
    const retry =
      can.retry &&
      button(
        'Try again',
        () =>
          guarded(retry, trouble, async () => {
            const again = await post(path`v1/runs/${run.run_id}/retry`);
            location.hash = `#/runs/${encodeURIComponent(again.run_id)}`;
          }),
        {},
        'retry',
      );
    this.node = h(
      'li',
      { class: 'line', 'data-run': run.run_id },
      new Status().update(stateOf(run.status, run.termination)),
      h(
        'span',
        { class: 'main' },
        h('strong', {}, runLink(run.run_id, run.agent_id)),
        h('span', { class: 'words' }, message ?? reason ?? '', code && [' ', h('code', {}, code)]),
        trouble.node,
      ),
      h('span', { class: 'at' }, when(run.finished_at)),
      retry && h('span', { class: 'buttons' }, retry),
    );
  }
}
