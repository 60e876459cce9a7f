// Flows: which mode each is in and who said so, what it needs, and what it would have run in shadow.

import { html, useState } from '../lib.js';
import { useResource } from '../hooks.js';
import { send } from '../api.js';
import { shortId } from '../format.js';
import { Ago, Empty, For, Head, Loading, Panel, RecordLink, Refusal, Rows } from '../parts/bits.js';
import { useConfirm } from '../parts/confirm.js';

const MODES = ['off', 'shadow', 'live'];
const MEANS = {
  off: 'Triggers that match make no run.', shadow: 'Runs are recorded for what they would do, and act on nothing.',
  live: 'Runs are carried out.',
};

export function Flows() {
  const [flows, modes] = [useResource('/v1/flows'), useResource('/v1/modes')];
  const [shown, show] = useState(null);
  const [dialog, open] = useConfirm();
  const reload = () => [flows, modes].forEach(of => of.reload());
  const flip = (path, name, mode) => open({
    title: `${name}: ${mode}`, action: `Switch to ${mode}`, danger: mode === 'off', then: reload,
    text: `${MEANS[mode]} In force for the next trigger; what is queued goes on.`,
    fields: mode === 'live' ? [{ name: 'force', type: 'checkbox', label: 'Also without the time in shadow that the configuration asks for' }] : [],
    run: ({ force }) => send('PUT', path, { mode, ...(force && { force: true }) }),
  });
  const clear = name => open({
    title: `Take the override of ${name} back`, action: 'Take it back', then: reload,
    text: 'Its own file decides again, or the mode of all flows.',
    run: () => send('DELETE', `/v1/modes/flows/${encodeURIComponent(name)}`),
  });
  return html`
    <${Head} title="Flows" lead="What counts is the first of: an override here, the flow’s own file, the mode of all flows.">
      ${modes.value && html`<span class="quiet">All flows</span>
        <${Switch} name="All flows" mode=${modes.value.global.mode} flip=${mode => flip('/v1/modes/global', 'All flows', mode)} />`}
    <//>
    <${Rows} of=${flows} empty="No flow is loaded. dwell serve --flows DIR reads them.">
      <div class="stacked">${flows.value?.items.map(flow => html`<${Flow} key=${flow.name} flow=${flow}
        flip=${mode => flip(`/v1/modes/flows/${encodeURIComponent(flow.name)}`, flow.name, mode)}
        clear=${() => clear(flow.name)} open=${shown === flow.name} toggle=${() => show(shown === flow.name ? null : flow.name)} />`)}</div>
    <//>${dialog}`;
}

const Switch = ({ name, mode, flip }) => html`<span class="segments" role="group" aria-label=${`Mode of ${name}`}>
  ${MODES.map(of => html`<button key=${of} aria-pressed=${of === mode} data-mode=${of} onClick=${() => of !== mode && flip(of)}>${of}</button>`)}</span>`;

const BY = { override: 'overridden here', flow: 'by its file', global: 'by the mode of all flows', default: 'by default' };

function Flow({ flow, flip, clear, open, toggle }) {
  const blocked = flow.dispatcher === 'blocked';
  return html`<section class="panel flow" aria-label=${flow.name} data-flow=${flow.name}>
    <div class="summary">
      <h2>${flow.name}</h2>
      <span class="mark" data-tone=${{ running: 'good', blocked: 'bad', idle: 'plain' }[flow.dispatcher]}>${flow.dispatcher}</span>
      <span class="quiet">${BY[flow.origin]}, for <${For} since=${flow.since} /></span>
      <span class="tools">
        ${flow.origin === 'override' && html`<button onClick=${clear}>Take back</button>`}
        <${Switch} name=${flow.name} mode=${flow.mode} flip=${flip} /></span>
    </div>
    <dl class="about columns">
      <div><dt>Starts on</dt><dd>${flow.on.join('; ')}</dd></div>
      <div><dt>Runtime</dt><dd>${flow.runtime}</dd></div>
      <div><dt>Last trigger</dt><dd><${Last} last=${flow.last_trigger} /></dd></div>
      <div><dt>Last run</dt><dd><${Last} last=${flow.last_run} /></dd></div>
      <div><dt>File</dt><dd><code>${flow.file}</code></dd></div>
    </dl>
    ${flow.missing.length > 0 && html`<div class=${blocked ? 'refusal' : 'note'}>
      <p>${blocked ? 'Blocked: its triggers are taken, and its runs cannot be carried out.' : 'It could not go live now.'}</p>
      <ul>${flow.missing.map(one => html`<li key=${one.need}><b>${one.need}</b>: ${one.why}</li>`)}</ul></div>`}
    <button class="link" aria-expanded=${open} onClick=${toggle}>${open ? 'Hide' : 'Show'} what ran in shadow</button>
    ${open && html`<${Shadow} flow=${flow.name} />`}
  </section>`;
}

const Last = ({ last }) => (last ? html`<${Ago} at=${last.at} /> ${last.id.startsWith('run') ? html`<${RecordLink} id=${last.id} />` : html`<code title=${last.id}>${shortId(last.id)}</code>`}` : 'never');

/** Runs that were recorded only. */
function Shadow({ flow }) {
  const runs = useResource(`/v1/runs?shadow=true&limit=50&flow=${encodeURIComponent(flow)}`, 5_000);
  if (!runs.value) return runs.problem ? html`<${Refusal} problem=${runs.problem} />` : html`<${Loading} />`;
  if (runs.value.items.length === 0) return html`<${Empty}>Nothing was recorded in shadow.<//>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Recorded in shadow"><table class="rows recorded"><thead><tr><th>At</th><th>Run</th><th>Org / env</th><th>Runtime</th><th>It would have run</th></tr></thead>
    <tbody>${runs.value.items.map(run => html`<${Recorded} key=${run.id} run=${run} />`)}</tbody></table></div>`;
}

function Recorded({ run }) {
  const whole = useResource(`/v1/records/${run.id}`, 600_000).value;
  const would = run.last_error ? `nothing: ${run.last_error.message}` : whole ? said(whole.action) : '…';
  return html`<tr><td><${Ago} at=${run.created_at} /></td><td><${RecordLink} id=${run.id} /></td><td>${run.org} / ${run.env}</td>
    <td>${run.runtime}</td><td><code>${would}</code></td></tr>`;
}

function said(action) {
  if (action.command) return action.command.join(' ');
  if (action.agent) return action.agent.prompt;
  return action.http ? `${action.http.method} ${action.http.url}` : `worker ${action.worker}`;
}
