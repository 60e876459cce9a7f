// What waits and runs in each env of each org, and whether each has its share.

import { html } from '../lib.js';
import { useResource, useStore } from '../hooks.js';
import { count, plural } from '../format.js';
import { Ago, Bar, Countdown, Head, Panel, Rows } from '../parts/bits.js';
import { Shares } from '../parts/shares.js';

export function Queues() {
  useStore();
  const list = useResource('/v1/queues?limit=1000', 2_000);
  const workers = useResource('/v1/claims', 3_000);
  const items = list.value?.items ?? [];
  const most = Math.max(1, ...items.map(row => row.queued.ready + row.queued.burst));
  return html`
    <${Head} title="Queues" lead="Orgs take turns, and the envs of an org among themselves: none waits for another’s burst." />
    <div class="stacked">
      <${Panel} title="Environments" note=${items.length > 0 && `${plural(items.length, 'environment')}${list.value.cursor ? ' and more' : ''}`}>
        <${Rows} of=${list} empty="Nothing is queued, and nothing runs.">
          <div class="scroll" tabindex="0" role="region" aria-label="Environments"><table class="rows envs">
            <thead><tr><th>Org / env</th><th class="num">Ready</th><th class="num">Burst</th><th class="num">Parked</th>
              <th class="num">Running</th><th>Queued</th><th>Oldest</th><th>Burst gate</th></tr></thead>
            <tbody>${items.map(row => html`<${Env} key=${`${row.org}/${row.env}`} row=${row} most=${most} />`)}</tbody></table></div>
        <//>
      <//>
      <${Panel} title="Share served" note="attempts that started since this page was opened, at most the last 5,000"><${Shares} envs=${items} /><//>
      ${workers.value?.items.length > 0 && html`<${Panel} title="Worker queues"><table class="rows">
        <thead><tr><th>Queue</th><th class="num">Queued</th><th class="num">Claims waiting</th><th>Last claim</th></tr></thead>
        <tbody>${workers.value.items.map(row => html`<tr key=${row.queue}><td><b>${row.queue}</b></td><td class="num">${count(row.queued)}</td>
          <td class="num">${count(row.claims)}</td><td>${row.asked_at ? html`<${Ago} at=${row.asked_at} />` : 'not since the start'}</td></tr>`)}</tbody></table><//>`}
    </div>`;
}

function Env({ row, most }) {
  const queued = row.queued.ready + row.queued.burst;
  return html`<tr>
    <td class="place"><b>${row.org}</b> / ${row.env}</td>
    <td class="num" data-name="ready">${count(row.queued.ready)}</td><td class="num" data-name="burst">${count(row.queued.burst)}</td>
    <td class="num" data-name="parked">${count(row.parked)}</td><td class="num" data-name="running">${count(row.outstanding)}</td>
    <td class="wide-bar"><${Bar} part=${queued} of=${most} words=${`${queued} queued`} /></td>
    <td class="oldest">${row.oldest_at ? html`<${Ago} at=${row.oldest_at} />` : '–'}</td>
    <td class="gate"><${Gate} gate=${row.gate} /></td></tr>`;
}

function Gate({ gate }) {
  if (gate.tripped_until) return html`<span class="mark" data-tone="warn">Tripped</span> <${Countdown} to=${gate.tripped_until} done="probes" />`;
  return gate.enrolled ? html`<span class="mark" data-tone="good">Watching</span>` : html`<span class="quiet">not enrolled</span>`;
}
