// Line drawings of 16 by 16, in the colour of the text around them.

import { html } from '../lib.js';

const PATHS = {
  brand: 'M3.5 8a4.5 4.5 0 1 0 4.5-4.5M8 8h.01',
  overview: 'M2.5 13.5v-5M6.2 13.5v-9M9.8 13.5v-6M13.5 13.5V2.5',
  board: 'M2.5 3h3v10h-3zM6.5 3h3v6h-3zM10.5 3h3v8h-3z',
  runtimes: 'M2.5 3.5h11v4h-11zM2.5 9.5h11v4h-11zM5 5.5h.01M5 11.5h.01',
  queues: 'M3 4h10M3 8h10M3 12h6',
  flows: 'M4 3.5v5a2 2 0 0 0 2 2h6M9.5 8l2.5 2.5L9.5 13M4 3.5h4',
  dead: 'M2.5 4h11v8.5h-11zM2.5 4.5L8 9l5.5-4.5',
  system: 'M2.5 3h11v8h-11zM6 13.5h4',
  light: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9',
  dark: 'M13 9.6A5.5 5.5 0 0 1 6.4 3 5.5 5.5 0 1 0 13 9.6',
  out: 'M6.5 13.5h-4v-11h4M10 5l3 3-3 3M13 8H6.5',
  back: 'M9.5 3.5L5 8l4.5 4.5',
  clock: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M8 5v3l2 1.5',
};

export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" fill="none"
  stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round"><path d=${PATHS[name]} /></svg>`;
