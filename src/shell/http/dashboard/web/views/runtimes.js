// Provider accounts: what holds each, until when, who said so, and who waits for it.

import { html } from '../lib.js';
import { useResource, useStore } from '../hooks.js';
import { send } from '../api.js';
import { records } from '../store.js';
import { count, isForEver, plural } from '../format.js';
import { Bar, Countdown, Head, RecordLink, Rows } from '../parts/bits.js';
import { useConfirm } from '../parts/confirm.js';
import { Windows } from '../parts/windows.js';

const SHOWN_MAX = 6;

export function Runtimes() {
  useStore();
  const list = useResource('/v1/runtimes', 2_000);
  const [dialog, ask] = useConfirm();
  const held = (list.value?.items ?? []).filter(row => row.state !== 'open').length;
  return html`
    <${Head} title="Runtimes" lead=${list.value && `${plural(list.value.items.length, 'account')}, ${held === 0 ? 'none' : held} held.`} />
    <${Rows} of=${list} empty="No runtime is configured.">
      <div class="stacked">${list.value?.items.map(row => html`
        <${Runtime} key=${row.name} row=${row} ask=${asked => ask({ ...asked, then: list.reload })} />`)}</div>
    <//>${dialog}`;
}

function Runtime({ row, ask }) {
  const waiting = [...records.values()].filter(record => record.runtime === row.name && record.state === 'rate_limited');
  const at = `/v1/runtimes/${encodeURIComponent(row.name)}`;
  const pause = () => ask({
    title: `Pause ${row.name}`, action: 'Pause', text: 'Nothing starts on it. What is outstanding goes on.',
    fields: [
      { name: 'until', label: 'Until', placeholder: '+90m', hint: 'From now like +90m, or a time. Empty: until it is resumed.' },
      { name: 'model', label: 'Only this model', hint: 'Empty: all of it.' },
    ],
    run: ({ until, model }) => send('POST', `${at}/pause`, { ...(until && { until }), ...(model && { model }) }),
  });
  const resume = model => ask({
    title: `Resume ${model ? `${model} of ${row.name}` : row.name}`, action: 'Resume',
    text: 'Its pause and its window end now, whatever the provider said. It starts slowly.',
    run: () => send('POST', `${at}/resume`, model ? { model } : {}),
  });
  return html`<section class="panel runtime" data-held=${row.state} aria-label=${row.name}>
    <div class="summary">
      <h2>${row.name}</h2>
      <span class="held"><${Held} row=${row} /></span>
      <span class="load"><${Bar} part=${row.outstanding} of=${row.concurrency} words=${`${row.outstanding} of ${row.concurrency} places taken`} />
        <span>${count(row.outstanding)} of ${count(row.concurrency)} running</span></span>
      <span class="quiet">${count(row.queued)} queued</span>
      <span class="tools">
        ${row.state !== 'open' && html`<button onClick=${() => resume()}>Resume</button>`}
        <button onClick=${pause}>Pause</button></span>
    </div>
    <${Windows} row=${row} />
    ${(row.models ?? []).map(model => html`<div class="model" key=${model.model}>
      <b>${model.model}</b> <${Held} row=${model} /> <button onClick=${() => resume(model.model)}>Resume</button></div>`)}
    ${waiting.length > 0 && html`<p class="quiet waits">${plural(waiting.length, 'record waits', 'records wait')} for its window:
      ${waiting.slice(0, SHOWN_MAX).map(record => html` <${RecordLink} id=${record.id} key=${record.id} />`)}
      ${waiting.length > SHOWN_MAX && ' …'}</p>`}
  </section>`;
}

/** What holds it, until when, and whether the provider said so. */
function Held({ row }) {
  if (row.state === 'open') return html`<span class="mark" data-tone="good">Open</span>`;
  const until = row.held_until;
  const words = row.state === 'paused' ? 'Paused' : row.limited.estimated ? 'Limited, estimated' : 'Limited, told';
  return html`<span class="mark" data-tone=${row.state === 'paused' ? 'plain' : 'warn'}>${words}</span>
    <span class="quiet">${isForEver(until) ? 'until resumed' : html`opens in <${Countdown} to=${until} />`}</span>`;
}
