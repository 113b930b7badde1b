/** Numbers and times for people. */

const COUNT = new Intl.NumberFormat('en');
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });
const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1_000],
];

export const count = (number) => COUNT.format(number);

/** `1 token`, `2 tokens`. */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? '' : 's'}`;

/** `40 ms`, `3.2 s`, `2 min 5 s`, `1 h 3 min`. */
export function duration(ms) {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

/** `2 min. ago`, `in 6 days`. */
export function ago(at, now = Date.now()) {
  const ms = at - now;
  if (Math.abs(ms) < 1_500) return 'now';
  const [unit, size] = UNITS.find(([, each]) => Math.abs(ms) >= each) ?? UNITS.at(-1);
  return RELATIVE.format(Math.round(ms / size), unit);
}

/** The moment, in full, in the reader's own time zone. */
export const moment = (at) =>
  new Date(at).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'medium' });

/** The time of day. */
export const clock = (at) => new Date(at).toLocaleTimeString('en-GB');

/** The last characters of an id: of time-ordered ids the first ones are all alike. */
export const shortId = (id) => (id.length > 12 ? `…${id.slice(-6)}` : id);

/** `tool_permission` as `tool permission`. */
export const plain = (name) => name.replaceAll(/[_-]/g, ' ');

/** A value as JSON; a text is JSON too. */
export const json = (value) => JSON.stringify(value, null, 2) ?? 'null';

/** In one line, cut at `length`. */
export function brief(value, length = 80) {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > length ? `${line.slice(0, length - 1)}…` : line;
}
