/** The page begins here: the shell, and in it the view that the address names. */

import { h } from './lib/dom.js';
import { key } from './lib/key.js';
import { parse } from './lib/route.js';
import { empty, tick } from './parts/bits.js';
import { Shell } from './parts/shell.js';
import { chatView } from './views/chat.js';
import { failedView } from './views/failed.js';
import { homeView } from './views/home.js';
import { inboxView } from './views/inbox.js';
import { runView } from './views/run.js';
import { runsView } from './views/runs.js';
import { systemView } from './views/system.js';
import { threadsView } from './views/threads.js';

const VIEWS = {
  '': homeView,
  chat: ({ rest, ...more }) => (rest[0] ? chatView({ rest, ...more }) : homeView(more)),
  runs: ({ rest, ...more }) => (rest[0] ? runView({ rest, ...more }) : runsView(more)),
  threads: threadsView,
  inbox: inboxView,
  failed: failedView,
  system: systemView,
};
const TICK_MS = 5_000;

const forever = new AbortController().signal;
const shell = new Shell(forever);
let current = new AbortController();

function showPlace() {
  current.abort();
  current = new AbortController();
  const { name, rest, query } = parse(location.hash);
  const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : unknown;
  const title = (words) => shell.setTitle(words);
  shell.showView(name, view({ rest, query, title, signal: current.signal }));
}

function unknown({ title }) {
  title('Nothing here');
  return [
    h('h1', { tabindex: -1 }, 'Nothing here'),
    empty(h('a', { href: '#/' }, 'Back to the start')),
  ];
}

document.body.replaceChildren(...shell.node);
showPlace();
addEventListener('hashchange', () => {
  const held =
    document.activeElement?.closest('main') && document.activeElement.getAttribute('aria-label');
  showPlace();
  // A filter that was just used keeps the focus; else it goes to where the view begins.
  const again = held && document.querySelector(`main [aria-label="${CSS.escape(held)}"]`);
  (again || document.querySelector('h1'))?.focus({ preventScroll: true });
});
let firstKey = true;
key.watch(() => (firstKey ? (firstKey = false) : showPlace()), forever);
setInterval(tick, TICK_MS);
