/** Words to try on the demo agents: what each of them shows. */

const EXAMPLES = {
  echo: ['Good morning'],
  storyteller: ['tokens=200 delay_ms=60', 'tokens=40'],
  assistant: ['weather in Paris and 6 * 7', 'weather in Oslo'],
  clerk: ['refund order 17 amount=20'],
  worker: ['do=paint,dry,polish seconds=2'],
  helper: ['Help me choose'],
  flaky: ['fail=transient:2', 'fail=midstream', 'fail=permanent'],
  manager: ['weather in Cairo'],
};

/** Only for the demo itself: an agent of the same name on a real model gets none. */
export const examplesFor = (agent) =>
  agent?.model === `scripted:${agent?.agent_id}` ? (EXAMPLES[agent.agent_id] ?? []) : [];
