/**
 * What a stream of log entries comes to: the runs of a thread, and in each run what happened, in
 * order. Pure; the same events give the same fold, wherever the stream was cut (docs/event-log.md).
 *
 * Everything that is shown has a `key`, which is for good, and a `rev`, which grows with each change;
 * so a view redraws only what changed.
 */

import { addMessage, remember, rememberResult, settleStep } from './fold-messages.js';
import {
  addText,
  callIn,
  callStep,
  closeStep,
  finish,
  openStep,
  openTicket,
  stepOf,
  takeBack,
  touch,
} from './fold-steps.js';

/** Messages of a snapshot come before everything that has a number in the log. */
const FIRST = 2 ** 40;

/** A run, as far as its events are known. */
export class Run {
  constructor(runId) {
    this.key = this.runId = runId;
    this.rev = 0;
    this.agentId = null;
    this.status = 'created';
    this.activation = 0;
    this.attempt = 1;
    this.termination = null;
    this.firstAt = this.startedAt = this.finishedAt = null;
    this.queued = false;
    this.tokens = { input: 0, output: 0 };
    this.items = [];
    this.steps = new Map();
    this.calls = new Map();
    this.orphans = new Map();
    this.open = null;
  }

  apply(entry) {
    this.firstAt ??= entry.at;
    HANDLERS[entry.event.event_type]?.(this, entry.event, entry);
    touch(this);
  }

  /** Whether an answer or a decision can still come. */
  get live() {
    return this.status !== 'done';
  }

  get openTickets() {
    return [...this.calls.values()].flatMap((call) =>
      call.tickets.filter((t) => t.status === 'open'),
    );
  }

  /** One more thing that happened; the end stays last, should it be known before. */
  push(item) {
    const ended = this.items.at(-1)?.kind === 'end';
    this.items.splice(ended ? this.items.length - 1 : this.items.length, 0, item);
  }

  /** Something that happened beside what was said: within the open step, or between steps. */
  note(what, entry, more = {}) {
    const note = {
      kind: 'note',
      type: 'note',
      key: `note-${entry.seq}`,
      rev: 0,
      what,
      at: entry.at,
      ...more,
    };
    if (!this.open) return this.push(note);
    this.open.parts.push(note);
    return touch(this.open);
  }

  /** Put `part`, what is remembered of earlier messages, before what is known. */
  begin(part) {
    const known = new Set(this.items.map((item) => item.key));
    this.items.unshift(...part.items.filter((item) => !known.has(item.key)));
    this.steps = new Map([...part.steps, ...this.steps]);
    this.calls = new Map([...part.calls, ...this.calls]);
    this.place = part.place;
    for (const message of this.orphans.values()) rememberResult(this, message);
    this.orphans = new Map([...part.orphans, ...this.orphans]);
    touch(this);
  }

  /** What the server knows of the run, for what the events at hand do not tell. */
  know(record) {
    this.agentId = record.agent_id;
    this.startedAt ??= record.started_at;
    if (record.status === 'done' && this.status !== 'done') {
      this.status = 'done';
      this.finishedAt = record.finished_at;
      this.tokens = { input: record.usage.input_tokens, output: record.usage.output_tokens };
      finish(this, record.termination);
    } else if (this.status === 'created') {
      this.status = record.status;
    }
    for (const ticket of record.waiting?.tickets ?? []) openTicket(this, ticket);
    touch(this);
  }
}

/** A thread: its runs in the order in which they speak. */
export class Thread {
  constructor() {
    this.runs = new Map();
    this.messageIds = new Set();
    this.firstMessageSeq = null;
  }

  run(runId) {
    if (!this.runs.has(runId)) this.runs.set(runId, new Run(runId));
    return this.runs.get(runId);
  }

  /** Those in which something was said, in order. */
  get spoken() {
    const runs = [...this.runs.values()].filter((run) =>
      run.items.some((item) => item.kind !== 'note'),
    );
    return runs.sort((a, b) => a.place - b.place);
  }

  /** The run that has the thread. */
  get active() {
    const runs = [...this.runs.values()];
    return runs.find((run) => run.status === 'running' || run.status === 'waiting') ?? null;
  }

  apply({ type, entry }) {
    if (type === 'thread_snapshot') return this.#begin(entry);
    if (type === 'message_committed') this.messageIds.add(entry.event.message.message_id);
    if (type === 'messages_replaced') {
      this.runs.delete(entry.run_id); // rolled back: nobody is shown it any more
      return;
    }
    const run = this.run(entry.run_id);
    run.apply(entry);
    if (run.items.length) run.place ??= entry.seq;
  }

  #begin(snapshot) {
    this.earlier(snapshot.messages);
    this.hasEarlier = snapshot.has_more;
    if (snapshot.active_run_id) this.run(snapshot.active_run_id).status = 'running';
  }

  /** Committed messages, in order, from before what is known. */
  earlier(messages) {
    const parts = new Map();
    for (const message of messages) {
      const { run_id: runId, message_id: id, message_seq: seq } = message;
      this.messageIds.add(id);
      if (!parts.has(runId))
        parts.set(runId, Object.assign(new Run(runId), { place: seq - FIRST }));
      remember(parts.get(runId), message);
    }
    for (const [runId, part] of parts) this.run(runId).begin(part);
    if (messages.length) this.firstMessageSeq = messages[0].message_seq;
  }
}

// --- events ----------------------------------------------------------------------------------------

const HANDLERS = {
  run_queued(run, event, entry) {
    run.queued = true;
    run.note('queued', entry, { reason: event.reason, position: event.position });
  },

  run_start(run, event, entry) {
    Object.assign(run, { status: 'running', agentId: event.agent_id, queued: false });
    Object.assign(run, { activation: event.activation, termination: null });
    run.startedAt ??= entry.at;
    run.note(event.resumed ? 'resumed' : 'started', entry, { activation: event.activation });
  },

  run_retry(run, event, entry) {
    run.attempt = event.attempt;
    const { attempt, reason, retry_at: retryAt, error_code: code } = event;
    run.note('retry', entry, { attempt, reason, retryAt, code });
  },

  run_interrupted(run, event, entry) {
    run.note('interrupted', entry, { byRunId: event.by_run_id });
  },

  run_finish(run, event, entry) {
    if (event.termination.type === 'suspended') {
      run.status = 'waiting';
      run.termination = event.termination;
      run.note('waiting', entry);
      return;
    }
    run.status = 'done';
    run.finishedAt = entry.at;
    finish(run, event.termination);
  },

  step_start(run, event, entry) {
    closeStep(run);
    const step = stepOf(run, event.message_id, entry);
    if (step.remembered) {
      // Its events come all the same, and tell more than its message did.
      for (const part of step.parts) if (part.type === 'call') run.calls.delete(part.id);
      Object.assign(step, { parts: [], remembered: false });
    }
    step.startedAt ??= entry.at;
    step.open = true;
    run.open = step;
    touch(step);
  },

  step_end: closeStep,

  inference_complete(run, event, entry) {
    const step = openStep(run, entry);
    const { model, duration_ms: durationMs, usage, finish_reason: reason } = event;
    step.model = { model, durationMs, usage, reason };
    run.tokens.input += usage?.prompt_tokens ?? 0;
    run.tokens.output += usage?.completion_tokens ?? 0;
  },

  error(run, event, entry) {
    run.note('error', entry, { code: event.code, message: event.message });
  },

  text_delta: (run, event, entry) => addText(run, entry, 'text', event.delta),
  reasoning_delta: (run, event, entry) => addText(run, entry, 'reasoning', event.delta),

  tool_call_start(run, event, entry) {
    callIn(run, openStep(run, entry), event.id, event.name, entry);
  },

  tool_call_delta(run, event, entry) {
    const call = callIn(run, openStep(run, entry), event.id, '', entry);
    if (!call.ready) call.argumentsText += event.args_delta;
  },

  tool_call_cancel(run, event, entry) {
    const step = openStep(run, entry);
    step.parts = step.parts.filter((part) => part.id !== event.id);
    run.calls.delete(event.id);
  },

  tool_call_ready(run, event, entry) {
    const call = callIn(run, openStep(run, entry), event.id, event.name, entry);
    Object.assign(call, { ready: true, name: event.name, arguments: event.arguments });
    call.readyAt = entry.at;
  },

  tool_call_stream_delta(run, event, entry) {
    const call = callIn(run, callStep(run, event.id, entry), event.id, event.name, entry);
    call.output += event.delta;
  },

  tool_call_done(run, event, entry) {
    const call = callIn(run, callStep(run, event.id, entry), event.id, '', entry);
    Object.assign(call, { outcome: event.outcome, result: event.result, doneAt: entry.at });
    call.progress = null;
  },

  tool_call_resumed(run, event, entry) {
    const call = callIn(run, callStep(run, event.target_id, entry), event.target_id, '', entry);
    call.decision = event.result;
  },

  stream_reset(run, event, entry) {
    takeBack(run, event.from_seq, entry.seq);
    if (event.reason !== 'compacted') run.note('reset', entry, { reason: event.reason });
  },

  activity_snapshot(run, event, entry) {
    const call = run.calls.get(event.content?.call_id);
    if (event.activity_type === 'tool-call-progress' && call) {
      call.progress = event.content;
      touch(call);
      touch(callIn(run, callStep(run, call.id, entry), call.id, call.name));
    } else {
      run.note('activity', entry, { name: event.activity_type, data: event.content });
    }
  },

  activity_delta: (run, event, entry) =>
    run.note('activity', entry, { name: event.activity_type, data: event.patch }),
  state_snapshot: (run, event, entry) => run.note('state', entry, { data: event.snapshot }),
  state_delta: (run, event, entry) => run.note('state', entry, { data: event.delta }),

  message_committed(run, { message }, entry) {
    const step = run.steps.get(message.message_id);
    if (step) settleStep(run, step, message);
    else if (message.role === 'tool') rememberResult(run, message);
    else addMessage(run, message, entry.at);
  },

  ticket_opened: (run, event) => openTicket(run, event.ticket),

  ticket_closed(run, event) {
    for (const call of run.calls.values()) {
      const ticket = call.tickets.find((each) => each.ticket_id === event.ticket_id);
      if (!ticket) continue;
      Object.assign(ticket, { status: event.status, by: event.by });
      touch(call);
      if (call.step) touch(call.step);
    }
  },

  child_started(run, event, entry) {
    run.note('child', entry, { runId: event.run_id, callId: event.tool_call_id });
  },
};
