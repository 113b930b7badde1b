/** What is around every view: where to go, whether the server answers, and the key. */

import { get, reachable } from '../lib/api.js';
import { h, refill, setText, show } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { key } from '../lib/key.js';
import { poll } from '../lib/poll.js';
import { KeyDialog } from './key-dialog.js';

const PLACES = [
  ['', 'home', 'Start'],
  ['runs', 'runs', 'Runs'],
  ['threads', 'threads', 'Threads'],
  ['inbox', 'inbox', 'Inbox'],
  ['failed', 'failed', 'Failed'],
  ['system', 'system', 'System'],
];
const EVERY_MS = 4_000;

export class Shell {
  constructor(signal) {
    this.links = new Map(PLACES.map(([name, sign, words]) => [name, place(name, sign, words)]));
    this.badge = h('span', { class: 'badge', hidden: true });
    this.links.get('inbox').append(this.badge);
    this.server = h('p', { class: 'server quiet' });
    this.away = h(
      'p',
      { class: 'away', role: 'status', hidden: true },
      'The server does not answer. Trying again…',
    );
    this.main = h('main', { id: 'main' });
    this.dialog = new KeyDialog(signal);
    this.node = [
      h(
        'a',
        { class: 'skip', href: '#main', onclick: (event) => this.#skip(event) },
        'Skip to the content',
      ),
      this.#sidebar(),
      h('div', { class: 'page' }, this.away, this.main),
      this.dialog.node,
    ];
    reachable.watch((fine) => show(this.away, !fine), signal);
    poll(
      () => this.#count(signal),
      () => EVERY_MS,
      signal,
    );
  }

  #sidebar() {
    const keyButton = h(
      'button',
      { type: 'button', class: 'key', onclick: () => this.dialog.open() },
      icon('key'),
      h('span', {}, 'Key'),
    );
    key.watch((value) => keyButton.classList.toggle('set', Boolean(value)));
    const brand = h(
      'a',
      { class: 'brand', href: '#/' },
      h('span', { class: 'sun', 'aria-hidden': 'true' }),
      'awaken',
    );
    const nav = h('nav', { 'aria-label': 'Main' }, [...this.links.values()]);
    return h(
      'div',
      { class: 'sidebar' },
      brand,
      nav,
      h('div', { class: 'sidebar-foot' }, this.server, keyButton),
    );
  }

  #skip(event) {
    event.preventDefault();
    this.main.querySelector('h1')?.focus();
  }

  async #count(signal) {
    const { items, has_more: more } = await get('v1/tickets', { limit: 50 }, signal);
    show(this.badge, items.length > 0);
    setText(this.badge, `${items.length}${more ? '+' : ''}`);
    this.badge.setAttribute('aria-label', `${items.length} open`);
    document.title = document.title.replace(
      /^(\(\d+\+?\) )?/,
      items.length ? `(${this.badge.textContent}) ` : '',
    );
    if (!this.server.textContent) {
      const info = await get('v1/system/info', {}, signal).catch(() => null);
      if (info) setText(this.server, `${info.name} ${info.version}`);
    }
  }

  /** Show a view: `nodes` in the place of the one before. */
  showView(name, nodes) {
    refill(this.main, nodes);
    const at = name === 'chat' ? '' : name;
    for (const [each, link] of this.links) {
      if (each === at) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    window.scrollTo({ top: 0 });
  }

  setTitle(words) {
    const before = /^\(\d+\+?\) /.exec(document.title)?.[0] ?? '';
    document.title = `${before}${words} · awaken`;
  }
}

const place = (name, sign, words) =>
  h('a', { href: `#/${name}` }, icon(sign), h('span', {}, words));
