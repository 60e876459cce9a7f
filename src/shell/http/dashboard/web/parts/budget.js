// What a record may use and what it used, a bar for each measure that is bounded.

import { html } from '../lib.js';
import { count } from '../format.js';
import { Bar } from './bits.js';

const MEASURES = [['attempts', 'Attempts'], ['wall', 'Time'], ['tokens', 'Tokens'], ['cost_usd', 'Dollars']];
const UNITS = { d: 86_400, day: 86_400, days: 86_400, h: 3600, m: 60, s: 1, ms: 0.001 };

export function Budget({ budget }) {
  if (!budget) return null;
  const meters = [['Calls', budget.used === undefined ? null : budget], ...MEASURES.map(([name, title]) => [title, budget[name]])];
  return html`<div class="budget"><h3>Budget${budget.on_exhausted === 'ask' && html` <small>asks when it is used up</small>`}</h3>
    ${meters.filter(([, meter]) => meter).map(([title, meter]) => html`<${Meter} key=${title} title=${title} ...${meter} />`)}</div>`;
}

function Meter({ title, used, limit, soft }) {
  const [part, of] = [amount(used), amount(limit)];
  const tone = of && part >= of ? 'bad' : soft !== undefined && part >= amount(soft) ? 'warn' : 'good';
  const text = `${shown(used)}${limit === null || limit === undefined ? ' used, unlimited' : ` of ${shown(limit)}`}`;
  return html`<div class="meter"><span>${title}</span>
    ${of ? html`<${Bar} part=${part} of=${of} tone=${tone} words=${`${title}: ${text}`} />` : html`<span></span>`}<span class="num">${text}</span></div>`;
}

const shown = value => (typeof value === 'number' ? count(value) : value);

/** Seconds of a text like `1h 30m`, or the number. */
function amount(value) {
  if (typeof value !== 'string') return value ?? 0;
  return [...value.matchAll(/(\d+)([a-z]+)/g)].reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit] ?? 0), 0);
}
