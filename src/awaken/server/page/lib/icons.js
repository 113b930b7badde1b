/** Small drawings, in the colour of the text around them. */

import { svg } from './dom.js';

const PATHS = {
  home: 'M3 11.5 12 4l9 7.5M5.5 10v9.5h13V10M10 19.5v-5h4v5',
  runs: 'M4 6h3M4 12h3M4 18h3M10.5 6H20M10.5 12H20M10.5 18H20',
  threads: 'M4 5h16v11H9.5L5.5 19.5V16H4ZM8 9h8M8 12h5',
  inbox: 'M4 13.5 6.5 5h11l2.5 8.5V19H4ZM4 13.5h4.5c.4 2 1.6 3 3.5 3s3.100-1 3.500-3H20',
  failed: 'M12 4.500 20.500 19h-17ZM12 10v4.200M12 16.600v.100',
  system: 'M4 5h16v5.500H4ZM4 13.500h16V19H4ZM7.500 7.750h.100M7.500 16.250h.100',
  key: 'M14.500 9.500a4 4 0 1 1-1.200-2.850A4 4 0 0 1 14.500 9.500ZM13.500 12.500 20 19M17 16l2-2',
  send: 'M12 19V5.500M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7Z',
  check: 'M5 12.500 10 17.500 19 7',
  cross: 'M6.500 6.500l11 11M17.500 6.500l-11 11',
  clock: 'M12 4a8 8 0 1 0 .01 0ZM12 8v4.500l3 2',
  retry: 'M19 12a7 7 0 1 1-2.100-5M19.500 3.500V8H15',
  play: 'M8 5.500v13l10.500-6.500Z',
  pause: 'M8.500 6v12M15.500 6v12',
  tool: 'M14.500 6.500a4 4 0 0 0-5.300 5L4 16.700 7.300 20l5.200-5.200a4 4 0 0 0 5-5.300L15 12l-3-3Z',
  spark: 'M12 4l1.800 5.200L19 11l-5.200 1.800L12 18l-1.800-5.200L5 11l5.200-1.800Z',
  child: 'M7 4.500v9a3 3 0 0 0 3 3h8M14.500 13l3.500 3.500L14.500 20',
  note: 'M12 11v5M12 8v.100M12 4a8 8 0 1 0 .01 0Z',
  user: 'M12 12a3.500 3.500 0 1 0-.01 0ZM5 19.500c.6-3.500 3.200-5 7-5s6.400 1.500 7 5',
  plus: 'M12 5.500v13M5.500 12h13',
  down: 'M12 5v13M6 12.500l6 6 6-6',
  copy: 'M9 9h10v10H9ZM5 15V5h10',
  more: 'M6 12h.010M12 12h.010M18 12h.010',
};

/** The drawing `name`; it says nothing to a screen reader, the words beside it do. */
export function icon(name) {
  const path = svg('path', { d: PATHS[name] });
  return svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' }, path);
}
