// The machine with the way that one record took through it: steps taken are drawn, with how often, and where it is now.

import { html } from '../lib.js';
import { label } from '../states.js';
import { words } from '../format.js';

const [W, H] = [104, 30];
/** The size, and the centres of the states: along a wide page, down a narrow one. */
const WIDE = {
  size: [544, 240],
  at: {
    queued: [58, 120], active: [272, 120], rate_limited: [165, 30], backoff: [165, 210],
    draining: [280, 210], dead_lettered: [396, 210], completed: [486, 120], cancelled: [396, 30],
  },
};
const NARROW = {
  size: [344, 320],
  at: {
    queued: [172, 24], active: [172, 144], rate_limited: [58, 84], backoff: [286, 84],
    draining: [58, 214], dead_lettered: [286, 214], completed: [110, 290], cancelled: [234, 290],
  },
};
/** Steps that are drawn also when they were not taken. */
const USUAL = ['queued>active', 'active>completed', 'active>rate_limited', 'rate_limited>queued', 'active>backoff',
  'backoff>queued', 'active>dead_lettered', 'active>draining', 'active>cancelled'];

/** Once more through the same state; the record stays where it is. */
const isStep = step => step.from && step.from !== step.to && WIDE.at[step.from] && WIDE.at[step.to];

export function Diagram({ steps, state }) {
  const { size, at } = matchMedia('(max-width: 820px)').matches ? NARROW : WIDE;
  const taken = new Map();
  steps.filter(isStep).forEach(step => {
    const key = `${step.from}>${step.to}`;
    taken.set(key, (taken.get(key) ?? 0) + 1);
  });
  const been = new Set([state, ...steps.flatMap(step => [step.from, step.to])]);
  const edges = [...new Set([...USUAL, ...taken.keys()])].sort((a, b) => (taken.get(a) ?? 0) - (taken.get(b) ?? 0));
  const told = [...taken].map(([key, times]) => `${words(key).replace('>', ' to ')}${times > 1 ? `, ${times} times` : ''}`);
  return html`<svg class="diagram" viewBox=${`0 0 ${size.join(' ')}`} role="img" aria-label=${`It is ${words(state)}. Its way: ${told.join('; ') || 'it was admitted'}`}>
    <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto-start-reverse">
      <path d="M0 1L7 4L0 7" /></marker></defs>
    ${edges.map(key => html`<${Edge} key=${key} of=${key} at=${at} times=${taken.get(key) ?? 0} />`)}
    ${Object.keys(at).map(name => html`<${Node} key=${name} name=${name} at=${at[name]} been=${been.has(name)} here=${name === state} />`)}
  </svg>`;
}

function Node({ name, at: [x, y], been, here }) {
  return html`<g class=${`node${been ? ' been' : ''}${here ? ' here' : ''}`} data-state=${name}>
    <rect x=${x - W / 2} y=${y - H / 2} width=${W} height=${H} rx="7" />
    <text x=${x} y=${y + 4} text-anchor="middle">${label(name)}</text></g>`;
}

function Edge({ of, at, times }) {
  const [from, to] = of.split('>').map(name => at[name]);
  const [path, [x, y]] = bend(from, to);
  return html`<g class=${`edge${times ? ' taken' : ''}`}><path d=${path} marker-end="url(#tip)" />
    ${times > 1 && html`<g class="times"><circle cx=${x} cy=${y} r="8.5" /><text x=${x} y=${y + 3.5} text-anchor="middle">${times}</text></g>`}</g>`;
}

/** From border to border, bent to the right of its direction so that the way back is another line; and its middle. */
function bend([x1, y1], [x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = Math.hypot(dx, dy);
  const out = Math.min(34, length / 7);
  const [mx, my] = [(x1 + x2) / 2 - (dy / length) * out, (y1 + y2) / 2 + (dx / length) * out];
  const [ax, ay] = border([x1, y1], [mx, my]);
  const [bx, by] = border([x2, y2], [mx, my]);
  return [`M${ax} ${ay}Q${mx} ${my} ${bx} ${by}`, [(ax + 2 * mx + bx) / 4, (ay + 2 * my + by) / 4]];
}

function border([x, y], [towardsX, towardsY]) {
  const [dx, dy] = [towardsX - x, towardsY - y];
  const scale = Math.min((W / 2 + 2) / Math.abs(dx || 1e-9), (H / 2 + 2) / Math.abs(dy || 1e-9));
  return [x + dx * scale, y + dy * scale].map(number => Math.round(number * 10) / 10);
}
