/** The field for the key. It opens by itself when the server asks for one. */

import { h, setText, show } from '../lib/dom.js';
import { key, keyTrouble, setKey } from '../lib/key.js';
import { button } from './bits.js';

export class KeyDialog {
  constructor(signal) {
    this.field = h('input', {
      type: 'password',
      id: 'key',
      autocomplete: 'off',
      spellcheck: 'false',
      'aria-describedby': 'key-about',
    });
    this.trouble = h('p', { class: 'trouble', role: 'alert', hidden: true });
    const about =
      'Sent with every request. It is kept in this tab, and forgotten when the tab is closed. ' +
      'A server without keys needs none.';
    const form = h(
      'form',
      { method: 'dialog', onsubmit: (event) => this.#use(event) },
      h('h2', { id: 'key-title' }, 'Key of this server'),
      this.trouble,
      h('label', { for: 'key' }, 'Key'),
      this.field,
      h('p', { class: 'hint', id: 'key-about' }, about),
      h(
        'div',
        { class: 'buttons' },
        button('Forget', () => this.#forget(), { class: 'link' }),
        button('Close', () => this.node.close()),
        h('button', { type: 'submit', class: 'primary' }, 'Use it'),
      ),
    );
    this.node = h('dialog', { 'aria-labelledby': 'key-title' }, form);
    keyTrouble.watch((reason) => reason && this.open(reason), signal);
  }

  open(reason) {
    show(this.trouble, Boolean(reason));
    setText(this.trouble, reason ? this.#words(reason) : '');
    if (this.node.open) return;
    this.field.value = key.get();
    if (this.node.isConnected) this.node.showModal();
    this.field.select();
  }

  #words(reason) {
    return key.get() ? `This key was refused: ${reason}` : `This server asks for a key: ${reason}`;
  }

  #use(event) {
    event.preventDefault();
    this.node.close();
    setKey(this.field.value);
  }

  #forget() {
    this.field.value = '';
    setKey('');
    this.node.close();
  }
}
