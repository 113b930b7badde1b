/** Where messages are written. While the agent is busy one says what becomes of what it does. */

import { h, setText, show } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { button } from './bits.js';

export class Composer {
  constructor({ onsend, onstop }) {
    this.onsend = onsend;
    this.busy = false;
    this.area = h('textarea', {
      rows: 1,
      placeholder: 'Write a message',
      'aria-label': 'Message',
      onkeydown: (event) => this.#onKey(event),
      oninput: () => this.#update(),
    });
    this.words = h('span', {}, 'Send');
    this.send = h(
      'button',
      { type: 'submit', class: 'primary', disabled: true },
      icon('send'),
      this.words,
    );
    this.interrupt = button('Interrupt', () => this.#submit('interrupt'), { hidden: true });
    this.stop = button('Stop', () => onstop(this.stop), { class: 'danger', hidden: true }, 'stop');
    this.hint = h('small', { class: 'quiet' });
    this.node = h(
      'form',
      { class: 'composer', onsubmit: (event) => this.#onSubmit(event) },
      this.area,
      h(
        'div',
        { class: 'composer-foot' },
        this.hint,
        h('div', { class: 'buttons' }, this.stop, this.interrupt, this.send),
      ),
    );
    this.#update();
  }

  /** Write `text` for the user, who may still change it. */
  offer(text) {
    this.area.value = text;
    this.area.focus();
    this.#update();
  }

  update(active) {
    this.active = active;
    this.#update();
  }

  #update() {
    const { active } = this;
    const written = this.area.value.trim() !== '';
    const answers = active?.openTickets.some((ticket) => ticket.reason === 'user_input');
    this.send.disabled = !written;
    this.area.rows = Math.min(8, this.area.value.split('\n').length);
    setText(this.words, answers ? 'Answer' : active ? 'Queue' : 'Send');
    show(this.interrupt, Boolean(active) && written && !answers);
    show(this.stop, Boolean(active));
    setText(this.hint, hintFor(active, answers));
  }

  #onKey(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#submit('enqueue');
  }

  #onSubmit(event) {
    event.preventDefault();
    this.#submit('enqueue');
  }

  #submit(onBusy) {
    const text = this.area.value.trim();
    if (!text) return;
    this.area.value = '';
    this.onsend(text, onBusy);
    this.area.focus();
    this.#update();
  }
}

function hintFor(active, answers) {
  if (answers) return 'Your message answers the question.';
  if (active?.status === 'waiting')
    return 'It waits for a decision. Interrupt gives the question up.';
  if (active) return 'It is busy: your message waits, or interrupts.';
  return 'Enter sends, Shift+Enter makes a new line.';
}
