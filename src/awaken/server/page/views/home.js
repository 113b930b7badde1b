/** Where people begin: which agents there are, what waits for them, what runs. */

import { get } from '../lib/api.js';
import { h, refill, setText, show } from '../lib/dom.js';
import { counted } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { agents } from '../lib/known.js';
import { poll } from '../lib/poll.js';
import { Trouble, chatAddress } from '../parts/bits.js';
import { RunList } from '../parts/rows.js';

const EVERY_MS = 2_500;

export function homeView({ signal, title }) {
  title('Start');
  const trouble = new Trouble();
  return [
    h(
      'header',
      { class: 'hero' },
      h('h1', { tabindex: -1 }, 'Talk to an agent'),
      h(
        'p',
        {},
        'What runs here survives: reload the page, restart the server, come back tomorrow.',
      ),
    ),
    trouble.node,
    waiting(signal),
    agentCards(trouble),
    recent(signal),
  ];
}

function agentCards(trouble) {
  const cards = h('div', { class: 'cards' });
  agents()
    .then((all) => refill(cards, all.map(agentCard)))
    .catch((error) => trouble.say(error));
  return cards;
}

const agentCard = (agent) =>
  h(
    'a',
    { class: 'card', href: chatAddress(agent.agent_id) },
    h('strong', {}, agent.agent_id),
    h('span', { class: 'about' }, agent.description || 'No description.'),
    h(
      'span',
      { class: 'made-of' },
      h('code', {}, agent.model),
      agent.tools.length > 0 && h('span', {}, icon('tool'), counted(agent.tools.length, 'tool')),
    ),
  );

function waiting(signal) {
  const words = h('strong', {});
  const node = h(
    'a',
    { class: 'nudge', href: '#/inbox', hidden: true },
    icon('inbox'),
    h('span', {}, words, ' Answer in the inbox.'),
  );
  poll(
    async () => {
      const { items, has_more: more } = await get('v1/tickets', { limit: 100 }, signal);
      show(node, items.length > 0);
      const asking = items.length === 1 && !more ? 'question waits' : 'questions wait';
      setText(words, `${items.length}${more ? '+' : ''} ${asking} for you.`);
    },
    () => EVERY_MS,
    signal,
  );
  return node;
}

function recent(signal) {
  const list = new RunList();
  const all = h('a', { href: '#/runs' }, 'All runs');
  const section = h(
    'section',
    { hidden: true },
    h('header', { class: 'bar' }, h('h2', {}, 'Latest runs'), all),
    list.node,
  );
  poll(
    async () => {
      const { items } = await get('v1/runs', { limit: 8 }, signal);
      show(section, items.length > 0);
      list.update(items);
    },
    () => EVERY_MS,
    signal,
  );
  return section;
}
