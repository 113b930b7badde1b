/** Talking to the server: JSON in, JSON out, refusals as `Refused`. */

import { authorization, key, keyTrouble } from './key.js';
import { Signal } from './signal.js';

/** Where the server is: this file is at page/<digest>/lib/ below it. */
const ROOT = new URL('../../../', import.meta.url);

/** Whether the server answered when it was last asked. */
export const reachable = new Signal(true);

/** What the server does not do, and why. `status` is 0 when it could not be reached. */
export class Refused extends Error {
  constructor(status, code, message, details = {}) {
    super(message);
    this.name = 'Refused';
    this.status = status;
    this.code = code;
    this.details = details;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** The address of a path, such as `v1/runs`, with its query; what is empty is left out. */
export function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
  }
  return url;
}

/** A path with ids in it: ids are encoded, so that they cannot leave their segment. */
export function path(parts, ...ids) {
  return String.raw({ raw: parts }, ...ids.map(encodeURIComponent));
}

/** The response of a request that was not refused. */
export async function send(method, where, { query, body, headers, signal } = {}) {
  const used = key.get();
  let response;
  try {
    response = await fetch(address(where, query), {
      method,
      signal,
      cache: 'no-store',
      credentials: 'omit',
      headers: { ...(body !== undefined && JSON_TYPE), ...authorization(), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    reachable.set(false);
    throw new Refused(0, 'unreachable', 'the server does not answer');
  }
  reachable.set(true);
  if (response.ok) return response;
  const refused = await refusal(response);
  if (refused.status === 401 && used === key.get()) keyTrouble.set(refused.message);
  throw refused;
}

const JSON_TYPE = { 'content-type': 'application/json' };

async function refusal(response) {
  const told = await response.json().catch(() => null);
  const error = told?.error ?? {};
  const message = error.message ?? `the server answered ${response.status}`;
  return new Refused(response.status, error.code ?? 'unknown', message, error.details);
}

export async function get(where, query, signal) {
  return (await send('GET', where, { query, signal })).json();
}

export async function post(where, body, signal) {
  return (await send('POST', where, { body, signal })).json();
}

let described;

/** Whether the server has a route: an older one, or one under work, may lack some. */
export async function has(method, pattern) {
  described ??= get('openapi.json').catch(() => {
    described = undefined;
    return { paths: {} };
  });
  const { paths } = await described;
  return method.toLowerCase() in (paths[pattern] ?? {});
}

/** An id of our own, which makes repeating a request harmless. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const random = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${Date.now().toString(36)}-${random}`;
}
