/** Lists of runs: one row each, the whole row a link. */

import { Keyed, h, refill, setText } from '../lib/dom.js';
import { brief, counted, duration } from '../lib/format.js';
import { firstWords } from '../lib/known.js';
import { Status, stateOf, when } from './bits.js';

export class RunRow {
  constructor(run) {
    this.status = new Status();
    this.words = h('span', { class: 'words' });
    this.took = h('span', { class: 'took' });
    this.node = h(
      'li',
      {},
      h(
        'a',
        { class: 'line', href: `#/runs/${encodeURIComponent(run.run_id)}`, 'data-run': run.run_id },
        this.status.node,
        h('span', { class: 'main' }, h('strong', {}, run.agent_id), this.words),
        this.took,
        h('span', { class: 'at' }, when(run.created_at)),
      ),
    );
    firstWords(run.thread_id, run.run_id)
      .then((text) => setText(this.words, brief(text, 120)))
      .catch(() => {});
  }

  update(run) {
    this.status.update(stateOf(run.status, run.termination));
    const end = run.finished_at ?? (run.status === 'running' ? Date.now() : null);
    const tokens = run.usage.input_tokens + run.usage.output_tokens;
    refill(
      this.took,
      h('span', {}, end && run.started_at ? duration(end - run.started_at) : ''),
      h('small', {}, tokens > 0 ? counted(tokens, 'token') : ''),
    );
  }
}

export class RunList {
  constructor() {
    this.node = h('ul', { class: 'lines' });
    this.keyed = new Keyed(
      this.node,
      (run) => run.run_id,
      (run) => new RunRow(run),
    );
  }

  update(runs) {
    this.keyed.update(runs);
  }
}
