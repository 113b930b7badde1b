/** What waits for somebody: to be allowed, answered, or done on behalf of a tool. */

import { get, path } from '../lib/api.js';
import { Keyed, h, setText, show } from '../lib/dom.js';
import { agentOf } from '../lib/known.js';
import { poll } from '../lib/poll.js';
import { Trouble, empty, idLink } from '../parts/bits.js';
import { TicketCard } from '../parts/ticket.js';

const EVERY_MS = 2_500;

export function inboxView({ query, signal, title }) {
  title('Inbox');
  const all = query.get('show') === 'decided';
  return all ? decided(signal) : open(signal);
}

const head = (all) =>
  h(
    'header',
    { class: 'bar' },
    h('h1', { tabindex: -1 }, 'Inbox'),
    h(
      'nav',
      { class: 'tabs', 'aria-label': 'Which' },
      h('a', { href: '#/inbox', 'aria-current': all ? null : 'page' }, 'Open'),
      h('a', { href: '#/inbox?show=decided', 'aria-current': all ? 'page' : null }, 'Decided'),
    ),
  );

const keyOf = (ticket) => ticket.ticket_id;
const card = (ticket) => new TicketCard(ticket, { about: origin(ticket) });

/** Where the question comes from. */
function origin(ticket) {
  const agent = h('span', {});
  agentOf(ticket.run_id)
    .then((name) => setText(agent, name))
    .catch(() => {});
  return h(
    'span',
    { class: 'origin' },
    agent,
    ' ',
    idLink(`#/runs/${encodeURIComponent(ticket.run_id)}`, ticket.run_id),
  );
}

function open(signal) {
  const list = h('div', { class: 'tickets' });
  const keyed = new Keyed(list, keyOf, card);
  const trouble = new Trouble();
  const nothing = empty('Nothing waits for you.');
  show(nothing, false);
  const seen = new Map();
  const note = h('p', { class: 'quiet' });

  // What was closed since, here or elsewhere, stays to be seen until the view is left.
  async function ask() {
    const page = await get('v1/tickets', { limit: 100 }, signal);
    const now = new Map(page.items.map((ticket) => [ticket.ticket_id, ticket]));
    for (const [id, ticket] of seen) {
      if (!now.has(id) && ticket.status === 'open')
        seen.set(id, await get(path`v1/tickets/${id}`, {}, signal));
    }
    for (const [id, ticket] of now) seen.set(id, ticket);
    const tickets = [...seen.values()].sort((a, b) => b.opened_at - a.opened_at);
    keyed.update(tickets);
    show(nothing, !tickets.length);
    setText(note, page.has_more ? 'There are more; they come as these are decided.' : '');
  }

  poll(
    ask,
    () => EVERY_MS,
    signal,
    (error) => trouble.say(error),
  );
  return [head(false), trouble.node, list, note, nothing];
}

function decided(signal) {
  const list = h('div', { class: 'tickets' });
  const keyed = new Keyed(list, keyOf, card);
  const trouble = new Trouble();
  const nothing = empty('Nothing was decided yet.');
  show(nothing, false);
  async function ask() {
    const { items } = await get('v1/tickets', { status: 'all', limit: 100 }, signal);
    const closed = items.filter((ticket) => ticket.status !== 'open');
    keyed.update(closed);
    show(nothing, !closed.length);
  }
  poll(
    ask,
    () => 2 * EVERY_MS,
    signal,
    (error) => trouble.say(error),
  );
  return [head(true), trouble.node, list, nothing];
}
