/** The server itself: its queue, its worker, what it can do, and how to use it without this page. */

import { address, get } from '../lib/api.js';
import { h, refill } from '../lib/dom.js';
import { count, duration, plain } from '../lib/format.js';
import { key } from '../lib/key.js';
import { agents } from '../lib/known.js';
import { poll } from '../lib/poll.js';
import { Trouble, copyable, facts, statusOf } from '../parts/bits.js';

const EVERY_MS = 2_000;

export function systemView({ signal, title }) {
  title('System');
  const trouble = new Trouble();
  const place = () => h('div', {});
  const [queueAt, workerAt, abilitiesAt, commandsAt] = [place(), place(), place(), place()];
  const ask = async () => {
    const [info, stats] = await Promise.all([
      get('v1/system/info', {}, signal),
      get('v1/mailbox/stats', {}, signal),
    ]);
    refill(queueAt, queue(stats));
    refill(workerAt, worker(stats.worker, info));
  };
  // A key may be allowed to use the server without being allowed to look into its queue.
  poll(
    ask,
    () => EVERY_MS,
    signal,
    (error) => trouble.say(error),
  );
  Promise.all([get('v1/capabilities', {}, signal), agents()])
    .then(([can, all]) => {
      refill(abilitiesAt, abilities(can));
      refill(commandsAt, commands(all));
    })
    .catch((error) => signal.aborted || trouble.say(error));
  return [
    h('header', { class: 'bar' }, h('h1', { tabindex: -1 }, 'System'), links()),
    trouble.node,
    queueAt,
    h('div', { class: 'two' }, workerAt, abilitiesAt),
    commandsAt,
  ];
}

/** Pages of the server itself. Following a link sends no key, so with one only some would open. */
function links() {
  const to = (place, words) => h('a', { href: address(place).href }, words);
  const open = [to('docs', 'API'), to('openapi.json', 'OpenAPI'), to('metrics', 'Metrics')];
  return h(
    'nav',
    { class: 'links', 'aria-label': 'Elsewhere' },
    key.get() ? [] : open,
    to('health', 'Health'),
  );
}

const tile = (name, value, about, href) =>
  h(
    href ? 'a' : 'div',
    { class: 'tile', href, title: about },
    h('strong', {}, value),
    h('span', {}, name),
  );

function queue(stats) {
  const waited = stats.oldest_due_ms === null ? '—' : duration(stats.oldest_due_ms);
  return h(
    'section',
    { 'aria-label': 'Queue' },
    h('h2', {}, 'Queue'),
    h(
      'div',
      { class: 'tiles' },
      tile('queued', count(stats.queued), 'Deliveries that wait', '#/runs?status=created'),
      tile(
        'running',
        count(stats.claimed),
        'Deliveries that a worker executes',
        '#/runs?status=running',
      ),
      tile('in line', count(stats.in_line), 'Threads that could be served now'),
      tile('longest wait', waited, 'How long the first one that could be served waits'),
      tile('completed', count(stats.acked), 'Deliveries that came to their end'),
      tile(
        'cancelled',
        count(stats.cancelled + stats.superseded),
        'Cancelled or superseded deliveries',
      ),
      tile('dead letters', count(stats.dead_letter), 'Deliveries that were given up', '#/failed'),
    ),
  );
}

function worker(now, info) {
  const use = h('progress', { max: now.slots, value: now.executing, 'aria-label': 'slots in use' });
  return h(
    'section',
    { class: 'panel', 'aria-label': 'Worker' },
    h('h2', {}, 'Worker'),
    facts([
      ['name', h('code', {}, now.worker_id)],
      ['state', statusOf(now.draining ? 'draining' : 'takes work')],
      [
        'slots',
        h('span', { class: 'meter' }, use, ` ${count(now.executing)} of ${count(now.slots)}`),
      ],
      ['version', `${info.name} ${info.version}`],
      ['up for', duration(info.uptime_seconds * 1000)],
    ]),
  );
}

function abilities(can) {
  const chips = (names) =>
    h(
      'div',
      { class: 'chips' },
      names.map((name) => h('span', { class: 'chip' }, plain(name))),
    );
  const limits = Object.entries(can.limits).map(([name, value]) => [plain(name), count(value)]);
  return h(
    'section',
    { class: 'panel' },
    h('h2', {}, 'What it can do'),
    h('h3', {}, 'Protocols'),
    chips(can.protocols),
    h('h3', {}, 'Features'),
    chips(can.features),
    h('h3', {}, 'Limits'),
    facts(limits),
  );
}

/** The same with curl: for whoever wants to build on it. */
function commands(all) {
  const agent = all.find(({ agent_id: id }) => id === 'storyteller') ?? all[0];
  const body = JSON.stringify({
    agent_id: agent?.agent_id ?? 'default',
    messages: [
      { role: 'user', content: agent?.agent_id === 'storyteller' ? 'tokens=40 Hello' : 'Hello' },
    ],
  });
  const at = (place) => address(place).href;
  return h(
    'section',
    {},
    h('h2', {}, 'Without this page'),
    h('p', {}, 'Start a run and watch it:'),
    copyable(`curl -N ${at('v1/runs')} -H 'content-type: application/json' \\\n  -d '${body}'`),
    h('p', {}, 'Each event has an id. Go on where you stopped, while the run lives or long after:'),
    copyable(`curl -N ${at('v1/runs/')}RUN_ID/stream -H 'last-event-id: 12'`),
    h('p', {}, 'Why a run is where it is:'),
    copyable(`curl ${at('v1/runs/')}RUN_ID/explain`),
  );
}
