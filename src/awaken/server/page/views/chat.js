/**
 * A conversation with an agent. The thread's stream brings everything: what others write, what runs
 * already when the page is opened, and what comes after the server was restarted.
 */

import { get, newId, path, post } from '../lib/api.js';
import { Keyed, h, refill, setText, show } from '../lib/dom.js';
import { examplesFor } from '../lib/examples.js';
import { Thread } from '../lib/fold.js';
import { REFUSED, follow } from '../lib/follow.js';
import { agents } from '../lib/known.js';
import { ACCEPTED, Outbox, REJECTED } from '../lib/outbox.js';
import { Trouble, button, chatAddress, guarded, runLink } from '../parts/bits.js';
import { Composer } from '../parts/composer.js';
import { Connection } from '../parts/connection.js';
import { Frame } from '../parts/frame.js';
import { RunItems } from '../parts/steps.js';

/** How near the end one must be to be taken along by what is new. */
const NEAR_PX = 120;

export function chatView({ rest: [agentId, threadId], signal, title }) {
  title(agentId);
  return new ChatView(agentId, threadId, signal).nodes;
}

class ChatView {
  constructor(agentId, threadId, signal) {
    Object.assign(this, { agentId, signal });
    this.threadId = threadId ?? newId();
    this.isNew = threadId === undefined;
    this.following = false;
    this.frame = new Frame(() => this.#draw(), signal);
    this.connection = new Connection();
    this.trouble = new Trouble();
    this.outbox = new Outbox(this.threadId, agentId, () => this.#sent(), signal);
    this.#makeNodes();
    this.#begin();
    this.#introduce();
    if (!this.isNew) this.#follow();
    this.outbox.resume();
  }

  #makeNodes() {
    this.log = h('div', {
      class: 'log',
      role: 'log',
      'aria-live': 'off',
      'aria-label': 'Conversation',
    });
    this.earlier = button('Earlier messages', () => this.#more(), { hidden: true });
    this.unsent = h('div', { class: 'unsent' });
    this.entries = new Keyed(
      this.unsent,
      (entry) => entry.id,
      (entry) => new EntryView(entry, this.outbox),
    );
    this.about = h('p', { class: 'quiet about' });
    this.hints = h('div', { class: 'hints' });
    this.told = h('p', { class: 'only-read', role: 'status' });
    this.jump = button('Latest', () => this.#toEnd(), { class: 'jump', hidden: true }, 'down');
    this.composer = new Composer({
      onsend: (text, onBusy) => this.#send(text, onBusy),
      onstop: (pressed) => this.#stop(pressed),
    });
    const all = h('a', { href: `#/threads?agent=${encodeURIComponent(this.agentId)}` }, 'Threads');
    const fresh = h('a', { href: chatAddress(this.agentId), class: 'button' }, 'New thread');
    this.nodes = [
      h(
        'header',
        { class: 'bar' },
        h('h1', { tabindex: -1 }, this.agentId, this.connection.node),
        h('div', { class: 'buttons' }, all, fresh),
      ),
      this.about,
      this.trouble.node,
      h('div', { class: 'chat' }, this.earlier, this.log, this.unsent, this.hints, this.told),
      h('div', { class: 'dock' }, this.jump, this.composer.node),
    ];
    window.addEventListener('scroll', () => show(this.jump, !this.#isNearEnd()), {
      signal: this.signal,
    });
  }

  async #introduce() {
    const all = await agents().catch(() => []);
    const agent = all.find((each) => each.agent_id === this.agentId);
    setText(
      this.about,
      agent ? agent.description : 'This agent is not served any more; its threads can be read.',
    );
    const tries = examplesFor(agent).map((text) =>
      button(text, () => this.composer.offer(text), { class: 'chip' }),
    );
    refill(this.hints, tries.length > 0 && [h('span', { class: 'quiet' }, 'Try '), tries]);
  }

  // --- what comes ---------------------------------------------------------------------------------

  #begin() {
    this.thread = new Thread();
    this.turns = new Keyed(
      this.log,
      (run) => run.key,
      (run) => new Turn(run),
    );
    this.log.replaceChildren();
  }

  #follow() {
    if (this.following) return;
    this.following = true;
    const query = this.isNew ? { from: 'start' } : { snapshot: true };
    const watcher = {
      onEvents: (events) => this.#take(events),
      onState: (state, refusal) => this.#connected(state, refusal),
      onRestart: () => this.#begin(),
    };
    follow(path`v1/threads/${this.threadId}/stream`, query, watcher, this.signal);
  }

  #connected(state, refusal) {
    const missing = state === REFUSED && refusal.status === 404;
    if (missing) this.following = false; // it begins when a message arrives
    if (missing && this.outbox.entries.length) return;
    this.connection.say(state, refusal);
  }

  #take(events) {
    for (const event of events) {
      this.thread.apply(event);
      if (event.type === 'thread_snapshot') this.#recall();
      if (event.type === 'ticket_opened') setText(this.told, 'A question waits for you.');
      if (event.type === 'run_start') setText(this.told, `${this.agentId} is answering.`);
      if (isEnd(event)) setText(this.told, 'The answer is complete.');
    }
    this.outbox.settle(this.thread.messageIds);
    for (const { entry } of events.filter(isEnd)) {
      this.outbox.ended(entry.run_id, entry.event.termination);
    }
    this.frame.ask();
  }

  /** A snapshot holds messages. How the runs ended, and what they ask, the runs know. */
  async #recall() {
    const page = await get(
      path`v1/threads/${this.threadId}/runs`,
      { limit: 200 },
      this.signal,
    ).catch(() => null);
    for (const record of page?.items ?? []) {
      const known = this.thread.runs.has(record.run_id);
      if (known || record.status !== 'done') this.thread.run(record.run_id).know(record);
      this.outbox.know(record);
    }
    this.frame.ask();
  }

  #more() {
    return guarded(this.earlier, this.trouble, async () => {
      const before = this.thread.firstMessageSeq;
      const query = { before, order: 'desc', limit: 200 };
      const page = await get(path`v1/threads/${this.threadId}/messages`, query, this.signal);
      this.thread.earlier(page.items.reverse());
      this.thread.hasEarlier = page.has_more;
      await this.#recall();
    });
  }

  #draw() {
    const follow = this.#isNearEnd();
    this.turns.update(this.thread.spoken);
    this.entries.update(this.outbox.entries);
    show(this.earlier, Boolean(this.thread.hasEarlier));
    show(this.hints, !this.thread.spoken.length && !this.outbox.entries.length);
    this.composer.update(this.thread.active, this.outbox.entries);
    if (follow) this.#toEnd();
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = document.documentElement;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #toEnd() {
    window.scrollTo({ top: document.documentElement.scrollHeight });
  }

  // --- what goes ----------------------------------------------------------------------------------

  #send(text, onBusy) {
    if (this.isNew) history.replaceState(null, '', chatAddress(this.agentId, this.threadId));
    this.outbox.write(text, onBusy);
    this.#toEnd();
  }

  #sent() {
    if (this.outbox.entries.some((entry) => entry.state === ACCEPTED)) this.#follow();
    this.frame.ask();
  }

  #stop(pressed) {
    const run = this.thread.active;
    if (!run) return undefined;
    return guarded(pressed, this.trouble, () =>
      post(path`v1/runs/${run.runId}/cancel`, { reason: 'stopped in the chat' }),
    );
  }
}

const isEnd = ({ type, entry }) =>
  type === 'run_finish' && entry.event.termination.type !== 'suspended';

/** What one run added to the conversation, and where to see all of it. */
class Turn {
  constructor(run) {
    this.items = new RunItems(run, { detail: false });
    this.node = h(
      'div',
      { class: 'turn-frame' },
      this.items.node,
      run.runId && h('footer', {}, runLink(run.runId, 'details of this run')),
    );
  }

  update(run) {
    if (run.rev === this.drawn) return;
    this.drawn = run.rev;
    this.items.update();
  }
}

const STATES = { sending: 'sending…', accepted: 'queued: its turn comes', rejected: 'not sent' };

/** A message on its way. */
class EntryView {
  constructor(entry, outbox) {
    this.state = h('small', { class: 'quiet', role: 'status' });
    this.drop = button('Remove', () => outbox.drop(entry.id), { class: 'small link' });
    const bubble = h('div', { class: 'bubble user' }, h('p', { class: 'said' }, entry.text));
    this.node = h(
      'div',
      { class: 'entry', 'data-message': entry.id },
      bubble,
      h('span', {}, this.state, this.drop),
    );
  }

  update(entry) {
    const words = entry.problem ? `${STATES[entry.state]}: ${entry.problem}` : STATES[entry.state];
    setText(this.state, words);
    show(this.drop, entry.state === REJECTED);
  }
}
