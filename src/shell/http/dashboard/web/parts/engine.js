// What the engine costs: ticks and commits a second, and room on its disk.

import { html } from '../lib.js';
import { useStore } from '../hooks.js';
import { count, rate, seconds } from '../format.js';
import { Panel } from './bits.js';

export function Engine() {
  const { status, previous } = useStore();
  const each = name => {
    if (!previous || status.read <= previous.read) return 0;
    return Math.max(0, ((status[name] - previous[name]) * 1000) / (status.read - previous.read));
  };
  const { times, disk } = status;
  return html`<${Panel} title="Engine">
    <dl class="facts">
      <div><dt>Ticks</dt><dd>${rate(each('ticks'))}/s</dd><dd class="quiet">${count(status.ticks)} since open</dd></div>
      <div><dt>Commits</dt><dd>${rate(each('commits'))}/s</dd><dd class="quiet">${count(status.commits)} since open</dd></div>
      ${times && html`
        <div><dt>A tick takes</dt><dd>${seconds(times.tick.p50)}</dd><dd class="quiet">p99 ${seconds(times.tick.p99)}</dd></div>
        <div><dt>A commit takes</dt><dd>${seconds(times.commit.p50)}</dd><dd class="quiet">p99 ${seconds(times.commit.p99)}</dd></div>`}
      ${disk && html`<div><dt>Free on disk</dt><dd>${gib(disk.free)}</dd><dd class="quiet">needs ${gib(disk.min_free)}</dd></div>`}
      <div><dt>Flows</dt><dd>${status.dispatcher}</dd><dd class="quiet">${status.blocked.length} blocked</dd></div>
    </dl><//>`;
}

const gib = bytes => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`);
