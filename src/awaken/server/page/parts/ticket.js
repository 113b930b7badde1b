/** A question of a run, and the ways to answer it: allow a call, answer a tool, be the tool. */

import { Refused, get, newId, path, post } from '../lib/api.js';
import { h, refill, setText, show } from '../lib/dom.js';
import { json } from '../lib/format.js';
import { argumentsSchema } from '../lib/known.js';
import { isObject, problems, told } from '../lib/schema.js';
import { Trouble, button, guarded, jsonBlock, statusOf, when } from './bits.js';
import { SchemaForm } from './form.js';

const ALLOW = 'replay_tool_call';
const BE_THE_TOOL = 'use_decision_as_tool_result';

/** A card that lives as long as the ticket is shown; `update` brings what is new of it. */
export class TicketCard {
  constructor(ticket, { about = null, onclosed = () => {} } = {}) {
    this.ticket = ticket;
    this.onclosed = onclosed;
    this.decisionId = newId(); // of this card: pressing twice, or after a lost answer, decides once
    this.trouble = new Trouble();
    this.actions = h('div', { class: 'actions' });
    this.state = h('span', {});
    this.given = jsonBlock(ticket.arguments);
    this.node = h(
      'article',
      {
        class: 'ticket',
        'data-ticket': ticket.ticket_id,
        'aria-label': `Question about ${ticket.tool_name}`,
      },
      h('header', {}, h('span', { class: 'kind' }, this.#kind()), this.state, about),
      h('p', { class: 'question' }, ticket.message ?? `${ticket.tool_name} asks`),
      h('h4', {}, h('code', { class: 'tool-name' }, ticket.tool_name), ' is called with'),
      this.given,
      this.actions,
      this.trouble.node,
    );
    this.#offer();
    this.update(ticket);
  }

  #kind() {
    if (this.#isApproval()) return 'Approval';
    if (this.ticket.resume_mode !== BE_THE_TOOL) return 'Question';
    return this.ticket.reason === 'tool_permission' ? 'After a crash' : 'A tool of yours';
  }

  // The stream leaves out what has its default.
  #isApproval() {
    return (this.ticket.resume_mode ?? ALLOW) === ALLOW;
  }

  update(ticket) {
    const over = this.ticket.status !== 'open'; // closed is for good: what says else came late
    this.ticket = { ...this.ticket, ...ticket, ...(over && { status: this.ticket.status }) };
    const open = this.ticket.status === 'open';
    this.node.classList.toggle('open', open);
    show(this.actions, open);
    const { status, closed_at: closed, expires_at: expires, decision } = this.ticket;
    const reason = decision?.payload?.reason;
    const by = this.ticket.by ?? decision?.by;
    refill(
      this.state,
      statusOf(status),
      open && expires && when(expires, (text) => `expires ${text}`),
      !open && by && h('span', { class: 'quiet' }, `by ${by}`),
      closed && when(closed),
      typeof reason === 'string' && h('span', { class: 'quiet' }, `“${reason}”`),
    );
  }

  // --- what can be done ---------------------------------------------------------------------------

  #offer() {
    const ways = this.#isApproval() ? this.#approval() : this.#answer();
    refill(this.actions, ways);
  }

  #approval() {
    const editor = new ArgumentsEditor(this.ticket);
    const approve = button(
      'Approve',
      () => this.#decide(approve, 'resume', () => editor.read()),
      {
        class: 'primary',
      },
      'check',
    );
    editor.onopen = (open) => {
      setText(approve.lastChild, open ? 'Approve edited' : 'Approve');
      show(this.given, !open);
    };
    return [
      editor.node,
      h('div', { class: 'buttons' }, approve, this.#denial('Deny'), editor.toggle),
    ];
  }

  #answer() {
    const { response_schema: schema } = this.ticket;
    const form = schema ? new SchemaForm(schema) : new PlainAnswer();
    const words = this.ticket.resume_mode === BE_THE_TOOL ? 'Send the result' : 'Answer';
    const answer = button(
      words,
      () => this.#decide(answer, 'resume', () => form.read()),
      {
        class: 'primary',
      },
      'check',
    );
    return [form.node, h('div', { class: 'buttons' }, answer, this.#denial('Decline'))];
  }

  /** Saying no takes two presses, and between them there is room for a reason. */
  #denial(words) {
    const reason = h('input', {
      type: 'text',
      placeholder: 'Why? (optional)',
      'aria-label': 'Reason',
      hidden: true,
    });
    const deny = button(words, press, { class: 'danger' }, 'cross');
    const payload = () => ({
      value: reason.value.trim() ? { reason: reason.value.trim() } : undefined,
    });
    reason.addEventListener('keydown', (event) => event.key === 'Enter' && press());
    function asked() {
      show(reason, true);
      setText(deny.lastChild, `${words} it`);
      reason.focus();
    }
    const decide = () => this.#decide(deny, 'cancel', payload);
    function press() {
      if (reason.hidden) asked();
      else decide();
    }
    return h('span', { class: 'denial' }, reason, deny);
  }

  async #decide(pressed, action, read) {
    const { value, problem } = read();
    if (problem) return;
    await guarded(pressed, this.trouble, async () => {
      const { ticket_id: id, arguments_hash: hash } = this.ticket;
      const body = { action, payload: value, decision_id: this.decisionId, arguments_hash: hash };
      try {
        const decided = await post(path`v1/tickets/${id}/decision`, body);
        this.update(decided.ticket);
      } catch (error) {
        if (!(error instanceof Refused && error.status === 409)) throw error;
        this.update(await get(path`v1/tickets/${id}`)); // somebody was faster
        this.trouble.say(error);
      }
      this.onclosed(this.ticket);
    });
  }
}

/** The arguments, to be changed before they are allowed. */
class ArgumentsEditor {
  constructor(ticket) {
    this.before = ticket.arguments;
    this.schema = null;
    this.onopen = () => {};
    this.area = h('textarea', {
      class: 'code',
      rows: 5,
      spellcheck: 'false',
      'aria-label': 'Arguments as JSON',
      value: json(this.before),
    });
    this.problem = h('p', { class: 'trouble', role: 'alert', hidden: true });
    this.node = h('div', { class: 'editor', hidden: true }, this.area, this.problem);
    this.toggle = button('Edit arguments', () => this.#open(), { class: 'link' });
    this.area.addEventListener('input', () => this.#check());
    this.ticket = ticket;
  }

  async #open() {
    show(this.node, this.node.hidden);
    const open = !this.node.hidden;
    setText(this.toggle, open ? 'Keep as it was' : 'Edit arguments');
    this.onopen(open);
    if (!open) return;
    this.area.focus();
    this.schema = await argumentsSchema(this.ticket).catch(() => null);
    this.#check();
  }

  /** Nothing for unchanged arguments: they are allowed as they were asked for. */
  read() {
    if (this.node.hidden) return { value: undefined };
    const { value, problem } = this.#check();
    return problem ? { problem } : { value: { arguments: value } };
  }

  #check() {
    const read = this.#parsed();
    setText(this.problem, read.problem ?? '');
    show(this.problem, Boolean(read.problem));
    return read;
  }

  #parsed() {
    try {
      const value = JSON.parse(this.area.value);
      if (!isObject(value)) return { problem: 'arguments are a JSON object' };
      const found = problems(this.schema ?? likeness(this.before), value);
      return found.length ? { problem: told(found) } : { value };
    } catch (error) {
      return { problem: `this is not JSON: ${error.message}` };
    }
  }
}

/** Where no schema is told: the arguments that are there keep their types. */
function likeness(before) {
  const types = { string: 'string', number: 'number', boolean: 'boolean' };
  const entries = Object.entries(isObject(before) ? before : {});
  const known = entries.filter(([, value]) => types[typeof value]);
  return {
    properties: Object.fromEntries(known.map(([name, value]) => [name, { type: typeof value }])),
  };
}

/** A question without a schema: the answer is a text. */
class PlainAnswer {
  constructor() {
    this.area = h('textarea', { rows: 2, 'aria-label': 'Your answer' });
    this.node = h('div', { class: 'form' }, this.area);
  }

  read() {
    return { value: this.area.value };
  }
}
