// How many attempts of each org and env started, beside what an equal share of its org would be.

import { html } from '../lib.js';
import { records } from '../store.js';
import { started } from '../rates.js';
import { count } from '../format.js';
import { Bar, Empty } from './bits.js';

const SHOWN_MAX = 30;

export function Shares() {
  const served = new Map();
  for (const id of started.slice(-5_000)) {
    const record = records.get(id);
    if (record?.org) served.set(`${record.org} / ${record.env}`, (served.get(`${record.org} / ${record.env}`) ?? 0) + 1);
  }
  const total = [...served.values()].reduce((sum, number) => sum + number, 0);
  if (total === 0) return html`<${Empty}>Nothing started since this page was opened.<//>`;
  const rows = [...served].sort(([, a], [, b]) => b - a).slice(0, SHOWN_MAX);
  const even = 100 / served.size;
  return html`<ul class="shares">${rows.map(([name, number]) => {
    const share = (100 * number) / total;
    return html`<li key=${name}><span>${name}</span>
      <span class="share"><${Bar} part=${number} of=${rows[0][1]} words=${`${share.toFixed(0)} percent`} />
        <i class="even" aria-hidden="true" ref=${node => node && node.style.setProperty('left', `${Math.min(100, (100 * (total / served.size)) / rows[0][1])}%`)}></i></span>
      <span class="num">${share.toFixed(1)}%</span><span class="num quiet">${count(number)}</span></li>`;
  })}</ul>
  <p class="quiet">The mark is an equal share, ${even.toFixed(1)}%. An org with a weight has as many turns more; one with nothing to do has fewer.</p>`;
}
