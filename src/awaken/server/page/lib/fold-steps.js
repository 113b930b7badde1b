/** Steps of a run, and what they are made of: text, reasoning, tool calls, and their questions. */

/** Say that a thing has changed. */
export const touch = (thing) => (thing.rev += 1);

export function stepOf(run, messageId, entry) {
  let step = run.steps.get(messageId);
  if (!step) {
    step = {
      kind: 'step',
      key: `step-${messageId}`,
      rev: 0,
      messageId,
      number: run.steps.size + 1,
      parts: [],
      model: null,
      startedAt: entry?.at ?? null,
      open: true,
      interrupted: false,
      remembered: false,
    };
    run.steps.set(messageId, step);
    run.push(step);
  }
  return step;
}

/** The step that is being written; a stream that begins within one gets one without a name. */
export function openStep(run, entry) {
  run.open ??= stepOf(run, `unnamed-${entry.seq}`, entry);
  touch(run.open);
  return run.open;
}

export function addText(run, entry, type, text) {
  const step = openStep(run, entry);
  let part = step.parts.findLast((each) => each.type !== 'note'); // a new attempt goes on in the text
  if (part?.type !== type) {
    part = { type, key: `${type}-${entry.seq}`, rev: 0, text: '', pieces: [] };
    step.parts.push(part);
  }
  part.pieces.push([entry.seq, part.text.length]);
  part.text += text;
  touch(part);
}

function callOf(run, id, name, entry) {
  let call = run.calls.get(id);
  if (!call) {
    call = {
      type: 'call',
      key: `call-${id}`,
      rev: 0,
      id,
      name,
      seq: entry?.seq ?? 0,
      argumentsText: '',
      arguments: undefined,
      ready: false,
      output: '',
      progress: null,
      outcome: null,
      result: undefined,
      tickets: [],
      readyAt: null,
      doneAt: null,
      dropped: false,
    };
    run.calls.set(id, call);
  }
  touch(call);
  return call;
}

/** The call `id` of `step`; one of an earlier step that was named alike is another. */
export function callIn(run, step, id, name, entry) {
  if (run.calls.get(id)?.step && run.calls.get(id).step !== step) run.calls.delete(id);
  const call = callOf(run, id, name, entry);
  if (!step.parts.includes(call)) step.parts.push(call);
  call.step = step;
  touch(step);
  return call;
}

/** Void the deltas with `first` ≤ seq < `end`: of what is not committed that is always the tail. */
export function takeBack(run, first, end) {
  const step = run.open;
  if (!step) return;
  for (const part of step.parts) {
    const piece = part.pieces?.find(([seq]) => seq >= first && seq < end);
    if (!piece) continue;
    part.text = part.text.slice(0, piece[1]);
    part.pieces = part.pieces.filter(([seq]) => seq < first);
    touch(part);
  }
  const voided = (part) =>
    part.type === 'call' && !part.ready && part.seq >= first && part.seq < end;
  for (const call of step.parts.filter(voided)) run.calls.delete(call.id);
  step.parts = step.parts.filter((part) => !voided(part) && part.text !== '');
  touch(step);
}

export function openTicket(run, ticket) {
  const call = callOf(run, ticket.tool_call_id, ticket.tool_name);
  const known = call.tickets.find((each) => each.ticket_id === ticket.ticket_id);
  if (!known) call.tickets.push({ status: 'open', ...ticket });
  if (!call.step) {
    const step = run.open ?? run.items.findLast((item) => item.kind === 'step');
    if (step) callIn(run, step, call.id, call.name);
  }
  if (call.step) touch(call.step);
}

export function closeStep(run) {
  if (!run.open) return;
  run.open.open = false;
  touch(run.open);
  run.open = null;
}

export function finish(run, termination) {
  run.termination = termination;
  closeStep(run);
  for (const call of run.calls.values()) {
    if (call.outcome === 'succeeded' || call.outcome === 'failed') continue;
    call.dropped = true;
    touch(call);
    if (call.step) touch(call.step);
  }
  if (run.items.at(-1)?.kind === 'end') return;
  run.push({ kind: 'end', key: 'end', rev: 0, termination, at: run.finishedAt });
}

/** The step a call belongs to: after a resume none is open. */
export const callStep = (run, id, entry) => run.calls.get(id)?.step ?? openStep(run, entry);
