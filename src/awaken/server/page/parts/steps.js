/**
 * What a run did, growing while it does it. In a chat only what was said and what needs an answer; on
 * a run's own page also when each thing happened, what it cost, and what went wrong on the way.
 */

import { Keyed, h, refill, setText, show } from '../lib/dom.js';
import { clock, count, counted, duration, moment, plain } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { MarkdownView } from '../lib/markdown.js';
import { folded, jsonBlock, runLink, statusOf, when } from './bits.js';
import { TicketCard } from './ticket.js';

const MAKERS = {
  message: (item, run) => new MessageView(item, run),
  step: (item, run, detail) => new StepView(item, run, detail),
  note: (item, run) => new NoteView(item, run),
  end: (item, run) => new EndView(item, run),
};

/** Notes that a reader of the conversation wants to see too. */
const TOLD_IN_CHAT = new Set(['retry', 'error', 'interrupted', 'child']);

/** The items of one run. */
export class RunItems {
  constructor(run, { detail }) {
    this.run = run;
    this.detail = detail;
    this.node = h('div', { class: detail ? 'timeline' : 'turn', 'data-run': run.runId });
    this.items = new Keyed(
      this.node,
      (item) => item.key,
      (item) => withRevision(MAKERS[item.kind](item, run, detail)),
    );
  }

  update() {
    this.items.update(this.run.items.filter((item) => this.#isShown(item)));
  }

  #isShown(item) {
    if (this.detail) return true;
    if (item.kind === 'note') return TOLD_IN_CHAT.has(item.what);
    return item.kind !== 'end' || item.termination?.type !== 'natural_end';
  }
}

/** A part that is updated only when its thing has changed. */
function withRevision(view) {
  let drawn = -1;
  return {
    node: view.node,
    update(thing) {
      if (thing.rev === drawn) return;
      drawn = thing.rev;
      view.update?.(thing);
    },
  };
}

/** A row of the timeline: a sign, what it is about, and how long after the first one it was. */
function row(run, sign, hue, at, ...content) {
  return h(
    'section',
    { class: `row ${hue}` },
    h('span', { class: 'sign' }, icon(sign)),
    h('div', { class: 'row-body' }, content),
    h('span', { class: 'row-at' }, at && offset(run.firstAt ?? at, at)),
  );
}

const offset = (first, at) =>
  h(
    'time',
    { datetime: new Date(at).toISOString(), title: moment(at) },
    at > first ? `+${duration(at - first)}` : clock(at),
  );

// --- messages and steps ---------------------------------------------------------------------------

class MessageView {
  constructor(item, run) {
    const others = item.others.map((block) => h('span', { class: 'chip' }, block.type));
    const said = h(
      'div',
      { class: `bubble ${item.role}` },
      h('p', { class: 'said' }, item.text),
      others,
    );
    this.node = row(run, 'user', `message from-${item.role}`, item.at, said);
    this.node.dataset.message = item.messageId;
  }
}

class StepView {
  constructor(step, run, detail) {
    this.detail = detail;
    this.head = h('div', { class: 'step-head' });
    this.parts = h('div', { class: 'parts' });
    this.keyed = new Keyed(
      this.parts,
      (part) => part.key,
      (part) => withRevision(new PARTS[part.type](part)),
    );
    this.waiting = h('p', { class: 'thinking', 'aria-label': 'working' }, h('i'), h('i'), h('i'));
    this.node = row(
      run,
      'spark',
      'step',
      step.startedAt,
      detail && this.head,
      this.parts,
      this.waiting,
    );
  }

  update(step) {
    const parts = step.parts.filter(
      (part) => this.detail || part.type !== 'note' || TOLD_IN_CHAT.has(part.what),
    );
    this.keyed.update(parts);
    show(this.waiting, step.open && parts.every((part) => part.type === 'note'));
    this.node.classList.toggle('open', step.open);
    if (this.detail) refill(this.head, ...this.#about(step));
  }

  *#about(step) {
    yield h('strong', {}, `Step ${step.number}`);
    if (step.interrupted) yield statusOf('cut short');
    if (!step.model) {
      if (step.open) yield statusOf('running');
      return;
    }
    const { model, durationMs, usage, reason } = step.model;
    yield h('code', {}, model);
    yield h('span', {}, duration(durationMs));
    if (usage) yield h('span', { title: 'tokens' }, tokensOf(usage));
    if (reason) yield h('span', { class: 'quiet' }, plain(reason));
  }
}

function tokensOf(usage) {
  const more = [
    usage.cache_read_tokens && `${count(usage.cache_read_tokens)} cached`,
    usage.thinking_tokens && `${count(usage.thinking_tokens)} reasoning`,
  ].filter(Boolean);
  const told = `${count(usage.prompt_tokens ?? 0)} in, ${count(usage.completion_tokens ?? 0)} out`;
  return more.length ? `${told} (${more.join(', ')})` : told;
}

class TextPart {
  constructor() {
    this.view = new MarkdownView();
    this.node = this.view.node;
    this.node.classList.add('answer');
  }

  update(part) {
    this.view.update(part.text);
  }
}

class ReasoningPart {
  constructor() {
    this.text = h('p', {});
    this.node = folded('Reasoning', this.text);
    this.node.className = 'reasoning';
  }

  update(part) {
    setText(this.text, part.text);
  }
}

class CallPart {
  constructor() {
    this.name = h('code', { class: 'tool-name' });
    this.brief = h('span', { class: 'call-brief' });
    this.state = h('span', { class: 'call-state' });
    this.progress = h('div', { class: 'progress', hidden: true });
    this.more = h('div', { class: 'call-more' });
    this.output = h('pre', { class: 'output', hidden: true });
    this.details = h(
      'details',
      {},
      h('summary', {}, icon('tool'), this.name, this.brief, this.state),
      this.more,
    );
    this.questions = h('div', { class: 'questions' });
    this.tickets = new Keyed(
      this.questions,
      (ticket) => ticket.ticket_id,
      (ticket) => new TicketCard(ticket),
    );
    this.node = h(
      'div',
      { class: 'call' },
      this.details,
      this.progress,
      this.output,
      this.questions,
    );
  }

  update(call) {
    const given = call.ready ? call.arguments : call.argumentsText;
    setText(this.name, call.name);
    setText(
      this.brief,
      call.tickets.some((ticket) => ticket.status === 'open') ? '' : briefly(given),
    );
    refill(this.state, stateOfCall(call));
    this.#showProgress(call.progress);
    setText(this.output, call.output);
    show(this.output, Boolean(call.output));
    refill(this.more, ...this.#told(call, given));
    this.tickets.update(call.tickets.map((ticket) => ({ arguments: call.arguments, ...ticket })));
  }

  #showProgress(progress) {
    show(this.progress, Boolean(progress));
    if (!progress) return;
    const bar = h('progress', { max: 1, value: progress.progress, 'aria-label': 'progress' });
    refill(
      this.progress,
      progress.progress !== undefined && bar,
      h('span', {}, progress.message ?? ''),
    );
  }

  *#told(call, given) {
    yield h('h4', {}, 'Arguments');
    yield jsonBlock(given);
    if (call.decision?.arguments)
      yield [h('h4', {}, 'Allowed with'), jsonBlock(call.decision.arguments)];
    if (call.outcome && call.outcome !== 'suspended') {
      yield h('h4', {}, call.outcome === 'failed' ? 'Error' : 'Result');
      yield jsonBlock(call.result ?? null);
    }
  }
}

/** What happened while the step was written. */
class NotePart {
  constructor(note) {
    const [sign, hue, ...words] = NOTES[note.what](note);
    this.node = h('p', { class: `within status-line ${hue}` }, icon(sign), h('span', {}, words));
  }
}

const PARTS = { text: TextPart, reasoning: ReasoningPart, call: CallPart, note: NotePart };

function briefly(given) {
  const text = typeof given === 'string' ? given : JSON.stringify(given ?? {});
  return text.length > 90 ? `${text.slice(0, 89)}…` : text;
}

function stateOfCall(call) {
  if (call.outcome === 'failed') return [statusOf('error')];
  if (call.outcome === 'succeeded') {
    const took =
      call.doneAt && call.readyAt && !call.tickets.length && duration(call.doneAt - call.readyAt);
    return [took && h('span', { class: 'quiet' }, took), statusOf('natural_end')];
  }
  if (call.dropped) return [statusOf('dropped')];
  if (call.tickets.some((ticket) => ticket.status === 'open')) return [statusOf('waiting')];
  return [statusOf(call.ready ? 'running' : 'being written')];
}

// --- what else happened ---------------------------------------------------------------------------

const QUEUED = {
  submitted: 'Put in line',
  resume: 'Put in line to go on',
  retry: 'Put in line to try again',
};
const RETRIED = {
  retry: 'An attempt failed; another goes on where it stopped',
  handoff: 'Handed over; another worker goes on',
  lease_expired: 'Its worker was lost; another goes on',
};

const NOTES = {
  queued: (note) => [
    'clock',
    'quiet',
    QUEUED[note.reason] ?? `Put in line: ${plain(note.reason)}`,
    note.position > 1 && ` (place ${note.position})`,
  ],
  started: () => ['play', 'quiet', 'Started'],
  resumed: (note) => ['play', 'quiet', `Resumed, activation ${note.activation}`],
  retry: (note) => [
    'retry',
    'asks',
    `Attempt ${note.attempt}: ${RETRIED[note.reason] ?? plain(note.reason)}`,
    note.code && [' ', h('code', {}, note.code)],
    note.retryAt && [' ', when(note.retryAt)],
  ],
  interrupted: (note) => [
    'stop',
    'asks',
    'Asked to stop by a newer message: ',
    runLink(note.byRunId),
  ],
  waiting: () => ['pause', 'asks', 'Waits, and holds no worker meanwhile'],
  reset: (note) => ['retry', 'quiet', `Some text was taken back: ${plain(note.reason)}`],
  error: (note) => ['failed', 'bad', note.message, ' ', h('code', {}, note.code)],
  child: (note) => ['child', 'quiet', 'Started a run of another agent: ', runLink(note.runId)],
  state: (note) => ['note', 'quiet', folded('State', jsonBlock(note.data))],
  activity: (note) => ['note', 'quiet', folded(plain(note.name), jsonBlock(note.data))],
};

class NoteView {
  constructor(note, run) {
    const [sign, hue, ...words] = NOTES[note.what](note);
    this.node = row(run, sign, `note ${hue}`, note.at, h('div', { class: 'note-text' }, words));
  }
}

const ENDS = {
  natural_end: () => ['check', 'good', 'Done'],
  behavior_requested: () => ['check', 'good', 'Done: a tool asked to end'],
  stopped: (end) => [
    'failed',
    'bad',
    `Stopped by a limit: ${plain(end.code)}`,
    end.detail && ` (${end.detail})`,
  ],
  cancelled: (end) => ['stop', 'quiet', `Stopped by ${end.by}`, end.reason && `: ${end.reason}`],
  superseded: (end) => [
    'stop',
    'quiet',
    'A newer message took its place: ',
    runLink(end.by_run_id),
  ],
  blocked: (end) => ['failed', 'bad', `Blocked: ${end.reason}`],
  error: (end) => ['failed', 'bad', `Failed: ${end.message} `, h('code', {}, end.code)],
};

class EndView {
  constructor(item, run) {
    const end = item.termination ?? { type: 'natural_end' };
    const [sign, hue, ...words] = (ENDS[end.type] ?? (() => ['check', 'quiet', plain(end.type)]))(
      end,
    );
    const { startedAt, finishedAt, tokens } = run;
    const took = startedAt && finishedAt ? ` after ${duration(finishedAt - startedAt)}` : '';
    const used = tokens.input + tokens.output;
    const cost = h('span', { class: 'quiet' }, took, used > 0 && `, ${counted(used, 'token')}`);
    this.node = row(
      run,
      sign,
      `end ${hue}`,
      item.at,
      h('div', { class: 'note-text' }, h('strong', {}, words), cost),
    );
  }
}
