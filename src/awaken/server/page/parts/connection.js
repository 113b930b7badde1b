/** How a stream's connection is, in words that are also read aloud. */

import { h, setText } from '../lib/dom.js';
import * as follow from '../lib/follow.js';

const WORDS = {
  [follow.CONNECTING]: ['connecting…', 'quiet'],
  [follow.LIVE]: ['live', 'good'],
  [follow.RECONNECTING]: ['reconnecting…', 'asks'],
  [follow.PAUSED]: ['paused', 'quiet'],
  [follow.ENDED]: ['complete', 'quiet'],
  [follow.REFUSED]: ['refused', 'bad'],
};

export class Connection {
  constructor() {
    this.text = h('span', {});
    this.node = h(
      'span',
      { class: 'status', role: 'status' },
      h('span', { class: 'dot' }),
      this.text,
    );
    this.state = null;
  }

  say(state, refusal) {
    this.state = state;
    const [words, hue] = WORDS[state];
    this.node.className = `status connection ${hue}`;
    this.node.title = refusal?.message ?? '';
    setText(this.text, refusal ? `${words}: ${refusal.message}` : words);
  }
}
