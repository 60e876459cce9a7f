// How everything stands: counts by state, what happens a second, what wakes next, and what a commit costs.

import { html } from '../lib.js';
import { useResource, useStore } from '../hooks.js';
import { records } from '../store.js';
import * as clock from '../clock.js';
import * as rates from '../rates.js';
import { count, isForEver, rate, shortId, words } from '../format.js';
import { nameOf } from '../tasks.js';
import { FINISHED, LIVE, STATES, colour, due, label, meaning } from '../states.js';
import { Countdown, Empty, Head, Loading, Panel, State } from '../parts/bits.js';
import { Plot } from '../parts/plot.js';
import { Engine } from '../parts/engine.js';
import { Nodes } from '../parts/nodes.js';

const WAKES_SHOWN = 10;
const OUTCOMES = ['active', 'completed', 'dead_lettered', 'cancelled'];
const WAITS = ['queued', 'rate_limited', 'backoff', 'draining'];
const line = names => state => ({ name: names[state] ?? label(state), colour: colour(state) });

export function Overview() {
  const { status } = useStore();
  if (!status) return html`<${Head} title="Overview" /><${Loading} />`;
  return html`
    <${Head} title="Overview" lead=${`${count(status.admitted)} records admitted, ${count(status.attempts_started)} attempts started, ${count(status.outstanding)} outstanding now.`} />
    <${Counts} counts=${status.counts} />
    <div class="grid">
      <${Panel} title="Outcomes a second" note=${`${rate(sum(OUTCOMES))}/s in the last 10 s`}>
        <${Plot} lines=${OUTCOMES.map(line({ active: 'Started' }))} read=${() => rates.series(OUTCOMES)}
          words="Attempts started, records completed, dead-lettered and cancelled, a second, in the last minutes" />
      <//>
      <${Panel} title="Waits a second" note=${`${rate(sum(WAITS))}/s in the last 10 s`}>
        <${Plot} lines=${WAITS.map(line({}))} read=${() => rates.series(WAITS)}
          words="Records that were queued, rate limited, put in backoff or drained, a second, in the last minutes" />
      <//>
      <${Wakes} />
      <${Engine} />
      ${status.shards && html`<${Nodes} />`}
    </div>`;
}

const sum = states => states.reduce((total, state) => total + rates.recent(state), 0);

function Counts({ counts }) {
  const live = LIVE.reduce((total, state) => total + counts[state], 0);
  return html`<section class="counts" aria-label="Records by state">
    <div class="stack" aria-hidden="true">${LIVE.filter(state => counts[state] > 0).map(state => html`
      <i key=${state} data-state=${state} ref=${node => node && node.style.setProperty('flex-grow', Math.max(counts[state], live / 100))}></i>`)}</div>
    <ul>${STATES.map(state => html`<li key=${state} data-state=${state} class=${FINISHED.includes(state) ? 'finished' : ''}>
      <a href=${`#/board?${state}`}><b>${count(counts[state])}</b><span class="state" data-state=${state}>${label(state)}</span>
        <small>${meaning(state)}</small></a></li>`)}</ul>
  </section>`;
}

/** The soonest of what is known: deadlines of records, debounced runs and schedules. */
function Wakes() {
  const upcoming = useResource('/v1/upcoming?limit=12').value?.items ?? [];
  const now = clock.now();
  const waiting = [...records.values()].filter(record => record.deadline && LIVE.includes(record.state)
    && !isForEver(record.deadline) && Date.parse(record.deadline) > now - 2000);
  const wakes = [
    ...waiting.map(record => ({ at: record.deadline, record })),
    ...upcoming.filter(row => row.due_at).map(row => ({ at: row.due_at, row })),
  ].sort((a, b) => (a.at < b.at ? -1 : 1)).slice(0, WAKES_SHOWN);
  return html`<${Panel} title="Next wake-ups" note="durable deadlines, the soonest first">
    ${wakes.length === 0 ? html`<${Empty}>Nothing waits for the clock.<//>` : html`
      <table class="rows wakes"><thead class="hidden"><tr><th>In</th><th>What</th><th>Which</th><th>Then</th></tr></thead>
        <tbody>${wakes.map(wake => html`<${Wake} ...${wake} key=${wake.record?.id ?? `${wake.row.flow}${wake.row.key ?? wake.row.schedule}`} />`)}</tbody></table>`}
  <//>`;
}

const Wake = ({ at, record, row }) => html`<tr>
  <td class="num in"><${Countdown} to=${at} /></td>
  ${record ? html`<td class="cut"><a href=${`#/record/${record.id}`} title=${nameOf(record)}>${nameOf(record)}</a></td><td class="id quiet">${shortId(record.id)}</td>
      <td class="then"><${State} name=${record.state} /> <span class="quiet">${due(record.state)}</span></td>`
    : html`<td class="cut">${row.flow}</td><td class="id quiet">${row.key ?? row.schedule}</td><td class="quiet then">${words(row.kind)} run starts</td>`}
</tr>`;
