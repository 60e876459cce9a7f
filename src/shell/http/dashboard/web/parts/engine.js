// What the engine does and costs: ticks and commits a second, room on its disk.

import { html } from '../lib.js';
import { useStore } from '../hooks.js';
import * as pulse from '../pulse.js';
import { bytes, count, rate } from '../format.js';
import { Panel } from './bits.js';
import { Plot } from './plot.js';

const LINES = [{ name: 'Ticks a second', colour: 'var(--muted)' }, { name: 'Commits a second', colour: 'var(--accent)' }];

export function Engine() {
  const { status } = useStore();
  const { disk } = status;
  return html`<${Panel} title="Engine" note="what is decided, and made durable">
    <dl class="facts">
      <div><dt>Ticks</dt><dd>${rate(pulse.latest('ticks'))}/s</dd><dd class="quiet">${count(status.ticks)} since open</dd></div>
      <div><dt>Commits</dt><dd>${rate(pulse.latest('commits'))}/s</dd><dd class="quiet">${count(status.commits)} since open</dd></div>
      ${disk && html`<div><dt>Free on disk</dt><dd>${bytes(disk.free)}</dd><dd class="quiet">needs ${bytes(disk.min_free)}</dd></div>`}
      <div><dt>Flows</dt><dd>${status.dispatcher}</dd><dd class="quiet">${status.blocked.length} blocked</dd></div>
    </dl>
    <${Plot} lines=${LINES} read=${pulse.series} words="Ticks and commits a second, since this page was opened" /><//>`;
}
