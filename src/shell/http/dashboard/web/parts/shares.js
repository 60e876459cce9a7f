// How many attempts of each env started, beside what its turns amount to: orgs by weight, and the envs of an org alike.

import { html } from '../lib.js';
import { records } from '../store.js';
import { started } from '../rates.js';
import { count } from '../format.js';
import { Bar, Empty } from './bits.js';

const SHOWN_MAX = 30;
/** Of every org that was listed since the page was opened: one that has nothing now was served as well. */
const weights = new Map();

export function Shares({ envs }) {
  const served = new Map();
  for (const id of started.slice(-5_000)) {
    const record = records.get(id);
    if (!record?.org) continue;
    const name = `${record.org} / ${record.env}`;
    const row = served.get(name) ?? { name, org: record.org, number: 0 };
    served.set(name, { ...row, number: row.number + 1 });
  }
  const rows = [...served.values()].sort((a, b) => b.number - a.number);
  const total = rows.reduce((sum, row) => sum + row.number, 0);
  if (total === 0) return html`<${Empty}>Nothing started since this page was opened.<//>`;
  const turns = turnsOf(rows, envs);
  const widest = Math.max(...rows.map(row => Math.max(row.number / total, turns(row))));
  return html`<ul class="shares">${rows.slice(0, SHOWN_MAX).map(row => {
    const [share, due] = [row.number / total, turns(row)].map(part => (100 * part).toFixed(1));
    return html`<li key=${row.name}><span class="cut" title=${row.name}>${row.name}</span>
      <span class="share"><${Bar} part=${row.number} of=${widest * total} words=${`${share} percent, its turns are ${due} percent`} />
        <i class="even" aria-hidden="true" title=${`Its turns: ${due}%`} ref=${at((100 * turns(row)) / widest)}></i></span>
      <span class="num">${share}%</span><span class="num quiet">${count(row.number)}</span></li>`;
  })}</ul>
  <p class="quiet">The mark is its share of the turns: orgs by weight, the envs of an org alike. Who has nothing to do takes fewer.</p>`;
}

const at = part => node => node && node.style.setProperty('left', `calc(${Math.min(100, part)}% - 2px)`);

/** What part of all turns an env has among those that were served. */
function turnsOf(rows, envs) {
  envs.forEach(env => weights.set(env.org, env.weight));
  const weight = org => weights.get(org) ?? 1;
  const siblings = new Map();
  rows.forEach(({ org }) => siblings.set(org, (siblings.get(org) ?? 0) + 1));
  const all = [...siblings.keys()].reduce((sum, org) => sum + weight(org), 0);
  return ({ org }) => weight(org) / all / siblings.get(org);
}
