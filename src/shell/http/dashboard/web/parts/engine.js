// What the engine does and costs: ticks and commits a second, how long they take, room on its disk.

import { html, useEffect, useReducer } from '../lib.js';
import { useStore } from '../hooks.js';
import * as pulse from '../pulse.js';
import * as times from '../times.js';
import { bytes, count, rate, seconds } from '../format.js';
import { Panel } from './bits.js';
import { Plot } from './plot.js';

const LINES = [{ name: 'Ticks a second', colour: 'var(--muted)' }, { name: 'Commits a second', colour: 'var(--accent)' }];

export function Engine() {
  const { status } = useStore();
  const [, wake] = useReducer(n => n + 1, 0);
  useEffect(() => times.follow(wake), []);
  const { disk } = status;
  return html`<${Panel} title="Engine" note="what is decided, and made durable">
    <dl class="facts">
      <${Fact} name="Ticks" value=${`${rate(pulse.latest('ticks'))}/s`} more=${took('tick_duration') ?? `${count(status.ticks)} since open`} />
      <${Fact} name="Commits" value=${`${rate(pulse.latest('commits'))}/s`} more=${took('commit_duration') ?? `${count(status.commits)} since open`} />
      ${disk && html`<${Fact} name="Free on disk" value=${bytes(disk.free)} more=${`needs ${bytes(disk.min_free)}`} />`}
      <${Fact} name="Flows" value=${status.dispatcher} more=${`${status.blocked.length} blocked`} />
    </dl>
    <${Plot} lines=${LINES} read=${pulse.series} words="Ticks and commits a second, since this page was opened" />
    ${took('deadline_lateness') && html`<p class="quiet">Deadlines were met within ${seconds(times.quantile('deadline_lateness', 0.99))} (p99 of the last minute).</p>`}
  <//>`;
}

const Fact = ({ name, value, more }) => html`<div><dt>${name}</dt><dd>${value}</dd><dd class="quiet">${more}</dd></div>`;

/** `1.2 ms, p99 8 ms`: the half, and nearly all, of the last minute. */
function took(name) {
  const half = times.quantile(name, 0.5);
  return half === null ? null : `${seconds(half)}, p99 ${seconds(times.quantile(name, 0.99))}`;
}
