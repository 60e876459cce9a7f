// The nodes of a store in PostgreSQL: who is there, and who owns which shards.

import { html } from '../lib.js';
import { useResource } from '../hooks.js';
import { count, plural } from '../format.js';
import { Panel, Rows } from './bits.js';

export function Nodes() {
  const list = useResource('/v1/nodes', 2_000);
  const items = list.value?.items ?? [];
  const free = (list.value?.shards ?? []).filter(shard => shard.owner === null).map(shard => shard.shard);
  return html`<${Panel} title="Nodes" note=${free.length > 0 ? `${plural(free.length, 'shard')} without an owner` : 'every shard has an owner'}>
    <${Rows} of=${list} empty="No node is known.">
      <table class="rows nodes"><thead><tr><th>Node</th><th>Address</th><th class="num">Shards</th><th>Which</th></tr></thead>
        <tbody>${items.map(row => html`<tr key=${row.node}><td><b>${row.node}</b>${row.here && html` <span class="quiet">answers here</span>`}</td>
          <td class="quiet">${row.address}</td><td class="num">${count(row.shards.length)}</td><td class="cut">${ranges(row.shards)}</td></tr>`)}</tbody></table>
    <//>
  <//>`;
}

/** `0–3 7`. */
function ranges(numbers) {
  const found = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && last[1] + 1 === number) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(' ');
}
