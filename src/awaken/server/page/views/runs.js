/** All runs, newest first, as they go. */

import { h, show } from '../lib/dom.js';
import { plain } from '../lib/format.js';
import { agents } from '../lib/known.js';
import { Pages } from '../lib/pages.js';
import { poll } from '../lib/poll.js';
import { withQuery } from '../lib/route.js';
import { Trouble, button, empty, guarded } from '../parts/bits.js';
import { RunList } from '../parts/rows.js';

const STATUSES = ['created', 'running', 'waiting', 'done'];
const BUSY_MS = 1_000;
const IDLE_MS = 2_000;

export function runsView({ query, signal, title }) {
  title('Runs');
  const filters = {
    status: query.get('status'),
    agent_id: query.get('agent'),
    thread_id: query.get('thread'),
  };
  const pages = new Pages('v1/runs', { ...filters, limit: 50 }, (run) => run.run_id);
  const list = new RunList();
  const trouble = new Trouble();
  const nothing = empty('No runs here yet. ', h('a', { href: '#/' }, 'Start one.'));
  const more = button('Older runs', () =>
    guarded(more, trouble, async () => {
      await pages.more(signal);
      draw();
    }),
  );
  show(nothing, false);
  show(more, false);

  function draw() {
    list.update(pages.items);
    show(nothing, !pages.items.length);
    show(more, Boolean(pages.next));
  }

  const busy = () =>
    pages.items.some((run) => run.status === 'running' || run.status === 'created');
  const ask = async () => {
    await pages.refresh(signal);
    draw();
  };
  poll(
    ask,
    () => (busy() ? BUSY_MS : IDLE_MS),
    signal,
    (error) => trouble.say(error),
  );
  return [
    h('header', { class: 'bar' }, h('h1', { tabindex: -1 }, 'Runs'), filterBar(filters)),
    trouble.node,
    list.node,
    nothing,
    more,
  ];
}

function filterBar({ status, agent_id: agent, thread_id: thread }) {
  const set = (name) => (event) => {
    location.hash = withQuery(location.hash || '#/runs', { [name]: event.target.value });
  };
  const statuses = STATUSES.map((each) =>
    option(each, each === 'created' ? 'queued' : plain(each)),
  );
  const byStatus = h(
    'select',
    { onchange: set('status'), 'aria-label': 'Status' },
    option('', 'any status'),
    statuses,
  );
  byStatus.value = status ?? '';
  const byAgent = h(
    'select',
    { onchange: set('agent'), 'aria-label': 'Agent' },
    option('', 'any agent'),
  );
  fillAgents(byAgent, agent);
  const ofThread =
    thread &&
    h(
      'a',
      { class: 'chip', href: withQuery(location.hash, { thread: '' }) },
      'one thread only ',
      h('span', { 'aria-hidden': 'true' }, '✕'),
    );
  return h('div', { class: 'filters' }, ofThread, byStatus, byAgent);
}

export const option = (value, words) => h('option', { value }, words);

/** The agents as choices; one that is no longer served can still be filtered by. */
export async function fillAgents(select, chosen) {
  if (chosen) select.append(option(chosen, chosen));
  select.value = chosen ?? '';
  const all = await agents().catch(() => []);
  const others = all.filter((agent) => agent.agent_id !== chosen);
  select.append(...others.map((agent) => option(agent.agent_id, agent.agent_id)));
}
