/** Small drawings, in the colour of the text around them. */

import { svg } from './dom.js';

const PATHS = {
  home: 'M3 11.5 12 4l9 7.5M5.5 10v9.5h13V10M10 19.5v-5h4v5',
  runs: 'M4 6h3M4 12h3M4 18h3M10.5 6H20M10.5 12H20M10.5 18H20',
  threads: 'M4 5h16v11H9.5L5.5 19.5V16H4ZM8 9h8M8 12h5',
  inbox: 'M4 13.5 6.5 5h11l2.5 8.5V19H4ZM4 13.5h4.5c.4 2 1.6 3 3.5 3s3.1-1 3.5-3H20',
  failed: 'M12 4.5 20.5 19h-17ZM12 10v4.2M12 16.6v.1',
  system: 'M4 5h16v5.5H4ZM4 13.5h16V19H4ZM7.5 7.750h.1M7.5 16.250h.1',
  key: 'M14.5 9.5a4 4 0 1 1-1.2-2.850A4 4 0 0 1 14.5 9.5ZM13.5 12.5 20 19M17 16l2-2',
  send: 'M12 19V5.5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7Z',
  check: 'M5 12.5 10 17.5 19 7',
  cross: 'M6.5 6.5l11 11M17.5 6.5l-11 11',
  clock: 'M12 4a8 8 0 1 0 .01 0ZM12 8v4.5l3 2',
  retry: 'M19 12a7 7 0 1 1-2.1-5M19.5 3.5V8H15',
  play: 'M8 5.5v13l10.5-6.5Z',
  pause: 'M8.5 6v12M15.5 6v12',
  tool: 'M14.5 6.5a4 4 0 0 0-5.3 5L4 16.7 7.3 20l5.2-5.2a4 4 0 0 0 5-5.3L15 12l-3-3Z',
  spark: 'M12 4l1.8 5.2L19 11l-5.2 1.8L12 18l-1.8-5.2L5 11l5.2-1.8Z',
  child: 'M7 4.5v9a3 3 0 0 0 3 3h8M14.5 13l3.5 3.5L14.5 20',
  note: 'M12 11v5M12 8v.1M12 4a8 8 0 1 0 .01 0Z',
  user: 'M12 12a3.5 3.5 0 1 0-.01 0ZM5 19.5c.6-3.5 3.2-5 7-5s6.4 1.5 7 5',
  plus: 'M12 5.5v13M5.5 12h13',
  down: 'M12 5v13M6 12.5l6 6 6-6',
  copy: 'M9 9h10v10H9ZM5 15V5h10',
  more: 'M6 12h.010M12 12h.010M18 12h.010',
};

/** The drawing `name`; it says nothing to a screen reader, the words beside it do. */
export function icon(name) {
  const path = svg('path', { d: PATHS[name] });
  return svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' }, path);
}
