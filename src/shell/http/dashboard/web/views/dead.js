// Dead letters by cause, flow and kind of error; those that are chosen get another life, after a dry run and at a pace.

import { html, useState } from '../lib.js';
import { useResource, useStore } from '../hooks.js';
import { send } from '../api.js';
import { count, plural, words } from '../format.js';
import { Ago, Bar, Head, Panel, RecordLink, Rows } from '../parts/bits.js';
import { useConfirm } from '../parts/confirm.js';

const idOf = group => `${group.cause} ${group.flow ?? ''} ${group.runtime} ${group.fingerprint}`;

export function Dead() {
  const { status } = useStore();
  const groups = useResource('/v1/dead-letters/groups?limit=200', 3_000);
  const running = useResource('/v1/redrives', 2_000);
  const [chosen, choose] = useState(new Set());
  const [told, tell] = useState(null);
  const [dialog, ask] = useConfirm();
  const items = groups.value?.items ?? [];
  const taken = items.filter(group => chosen.has(idOf(group)));
  const size = taken.reduce((sum, group) => sum + group.count, 0);
  const toggle = group => choose(seen => {
    const next = new Set(seen);
    if (!next.delete(idOf(group))) next.add(idOf(group));
    return next;
  });
  const all = event => choose(new Set(event.currentTarget.checked ? items.map(idOf) : []));
  const dry = async () => tell(await Promise.all(taken.map(group => redrive(group, { dry_run: true }))).then(
    answers => `A dry run matches ${plural(answers.reduce((sum, answer) => sum + answer.matched, 0), 'record')}; nothing was changed.`,
    problem => problem.message));
  const go = () => ask({
    title: `Redrive ${plural(size, 'dead letter')}`, action: 'Redrive',
    text: 'Each gets another life: its streaks begin at 0, and its budget anew.',
    fields: [{ name: 'rate', label: 'Pace', placeholder: '10/s', hint: 'So many a second, minute or hour: 10/s, 30/m. Empty: all at once.' }],
    run: ({ rate }) => every(taken, rate),
    then: answer => {
      tell(answer.text);
      choose(new Set());
      [groups, running].forEach(of => of.reload());
    },
  });
  return html`
    <${Head} title="Dead letters" lead=${status && `${plural(status.counts.dead_lettered, 'record waits', 'records wait')} for an operator.`}>
      <button disabled=${size === 0} onClick=${dry}>Dry run</button>
      <button class="primary" disabled=${size === 0} onClick=${go}>Redrive${size > 0 ? ` ${count(size)}` : ''}</button>
    <//>
    ${told && html`<p class="banner plain" role="status">${told}</p>`}
    <div class="stacked">
      <${Running} list=${running} />
      <${Panel} title="By cause and kind of error">
        <${Rows} of=${groups} empty="No dead letters. Nothing waits for you.">
          <div class="scroll" tabindex="0" role="region" aria-label="Groups"><table class="rows letters">
            <thead><tr><th><input type="checkbox" aria-label="Choose all" checked=${taken.length > 0 && taken.length === items.length} onChange=${all} /></th>
              <th class="num">Count</th><th>Cause</th><th>Flow</th><th>Runtime</th><th>Last error</th><th>Newest</th><th>Oldest</th><th>Example</th></tr></thead>
            <tbody>${items.map(group => html`<${Group} key=${idOf(group)} group=${group} chosen=${chosen.has(idOf(group))} toggle=${() => toggle(group)} />`)}</tbody></table></div>
        <//>
      <//>
    </div>${dialog}`;
}

const Group = ({ group, chosen, toggle }) => html`<tr data-cause=${group.cause}>
  <td><input type="checkbox" checked=${chosen} onChange=${toggle} aria-label=${`Choose ${plural(group.count, 'record')}, ${words(group.cause)}, ${group.sample}`} /></td>
  <td class="num"><b>${count(group.count)}</b></td><td class="cause">${words(group.cause)}</td><td class=${group.flow ? undefined : 'none'}>${group.flow ?? '–'}</td><td>${group.runtime}</td>
  <td class="sample">${group.sample || '–'}</td><td><${Ago} at=${group.newest} /></td><td><${Ago} at=${group.oldest} /></td>
  <td><${RecordLink} id=${group.example} /></td></tr>`;

/** Those with a pace, while they run. */
function Running({ list }) {
  const items = list.value?.items ?? [];
  if (items.length === 0) return null;
  const stop = id => send('DELETE', `/v1/redrives/${id}`).then(list.reload, list.reload);
  return html`<${Panel} title="Running redrives"><ul class="redrives">${items.map(row => html`<li key=${row.id}>
    <span>${[row.cause && words(row.cause), row.flow, row.runtime].filter(Boolean).join(', ') || 'all'} at ${row.rate}</span>
    <${Bar} part=${row.redriven} of=${row.matched} tone="good" words=${`${row.redriven} of ${row.matched}`} />
    <span class="num">${count(row.redriven)} of ${count(row.matched)}</span><button onClick=${() => stop(row.id)}>Stop</button></li>`)}</ul><//>`;
}

/** One call a group; what is given must all match, so the group and nothing else. */
function redrive({ cause, flow, runtime, fingerprint }, more) {
  return send('POST', '/v1/dead-letters/redrive', { cause, runtime, fingerprint, ...(flow && { flow }), ...more });
}

/** Every group, with a pace as rows that carry it out, without one page after page. */
async function every(groups, rate) {
  let [done, paced] = [0, 0];
  for (const group of groups) {
    let cursor;
    do {
      const answer = await redrive(group, { ...(rate && { rate }), ...(cursor && { cursor }) });
      done += answer.redriven;
      paced += answer.redrive ? answer.matched : 0;
      cursor = answer.cursor;
    } while (cursor);
  }
  return { text: rate ? `${plural(paced, 'record')} will be redriven at ${rate} for each kind.` : `${plural(done, 'record was', 'records were')} redriven.` };
}
