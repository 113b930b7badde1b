/** Asking again and again, gently: not while nobody looks, and less often while it fails. */

import { Refused } from './api.js';
import { key } from './key.js';
import { pause } from './signal.js';

const LONGEST_MS = 20_000;

/**
 * Call `ask()` now and then every `everyMs()` until `signal` is aborted.
 *
 * `onTrouble(error)` is told of a refusal, and null when it works again. The returned function asks
 * at once.
 */
export function poll(ask, everyMs, signal, onTrouble = () => {}) {
  let wake = new AbortController();
  const again = () => wake.abort();
  document.addEventListener('visibilitychange', again, { signal });
  window.addEventListener('online', again, { signal });
  key.watch(again, signal);

  (async () => {
    let failures = 0;
    while (!signal.aborted) {
      wake = new AbortController();
      try {
        if (!document.hidden) await ask();
        failures = 0;
        if (!signal.aborted) onTrouble(null);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Refused)) throw error;
        failures += 1;
        onTrouble(error);
      }
      const ms = document.hidden ? 2 ** 30 : Math.min(everyMs() * 2 ** failures, LONGEST_MS);
      await pause(ms, AbortSignal.any([signal, wake.signal]));
    }
  })();
  return again;
}
