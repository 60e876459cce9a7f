// One record: where it stands and why, the way it took, its attempts, what it was asked and what it wrote.

import { html, useEffect, useState } from '../lib.js';
import { useResource, useStore } from '../hooks.js';
import { send } from '../api.js';
import { learn, watch } from '../store.js';
import { count, humane, moment, plural, words } from '../format.js';
import { due, FINISHED } from '../states.js';
import { Ago, Countdown, Head, Loading, Panel, RecordLink, Refusal, State } from '../parts/bits.js';
import { useConfirm } from '../parts/confirm.js';
import { Diagram } from '../parts/diagram.js';
import { Attempts } from '../parts/attempts.js';
import { Budget } from '../parts/budget.js';
import { LogTail } from '../parts/log-tail.js';

export function RecordView({ parts: [id] }) {
  useStore();
  const at = `/v1/records/${encodeURIComponent(id ?? '')}`;
  const [record, history, why] = [useResource(at, 5_000), useResource(`${at}/history`, 15_000), useResource(`${at}/why`, 5_000)];
  const whole = record.value?.id;
  useEffect(() => whole && watch(step => {
    if (step.id === whole) [record, history, why].forEach(of => of.reload());
  }), [whole]);
  const moved = () => [record, history, why].forEach(of => of.reload());
  if (!record.value) return html`<${Head} title="Record" />${record.problem ? html`<${Refusal} problem=${record.problem} />` : html`<${Loading} />`}`;
  const steps = history.value?.items ?? [];
  return html`
    <${Heading} record=${record.value} moved=${moved} />
    <${Standing} record=${record.value} why=${why.value} />
    <div class="grid">
      <div class="stacked tall">
        <${Panel} title="Path" note=${plural(steps.length, 'step')}><${Diagram} steps=${steps} state=${record.value.state} /><//>
        <${Panel} title="About"><${About} record=${record.value} /><${Budget} budget=${record.value.budget} /><//>
      </div>
      <div class="stacked tall">
        <${Panel} title="Attempts" note=${plural(record.value.attempt, 'attempt')}><${Attempts} steps=${steps} record=${record.value} /><//>
        <${Asked} record=${record.value} />
      </div>
      <${Panel} title="Log" wide><${LogTail} id=${record.value.id} attempt=${record.value.attempt} /><//>
    </div>`;
}

function Heading({ record, moved }) {
  const [dialog, ask] = useConfirm();
  const act = (verb, title, text, danger) => ask({
    title, text, danger, action: title,
    run: () => send('POST', `/v1/records/${record.id}/${verb}`),
    then: answer => {
      if (verb === 'rerun') location.hash = `#/record/${answer.id}`;
      else learn(answer);
      moved();
    },
  });
  const over = FINISHED.includes(record.state);
  const likely = { dead_lettered: 'redrive', rate_limited: 'resume', backoff: 'resume', completed: 'rerun', cancelled: 'rerun' }[record.state];
  const look = verb => (likely === verb ? 'primary' : undefined);
  return html`
    <div class="head"><div>
      <p class="crumb"><a href="#/board">Board</a> / ${record.kind}</p>
      <h1 class="long">${record.task ?? record.flow ?? record.key ?? record.kind} <${State} name=${record.state} /></h1>
      <p class="lead"><code id="record-id">${record.id}</code></p>
    </div><div class="tools">
      <button class=${look('resume')} onClick=${() => act('resume', 'Resume now', 'Its wait ends early, and it starts when it is its turn.')}>Resume now</button>
      <button class=${look('redrive')} onClick=${() => act('redrive', 'Redrive', 'It gets another life: its streaks begin at 0, and its budget anew.')}>Redrive</button>
      <button class=${look('rerun')} onClick=${() => act('rerun', 'Rerun', 'What it was asked for is done once more, as a new record.')}>Rerun</button>
      <button class="danger" disabled=${over} onClick=${() => act('cancel', 'Cancel it', 'It ends for good. An attempt that is outstanding is stopped.', true)}>Cancel</button>
    </div></div>${dialog}`;
}

/** Why it is where it is: the rule in words, and until when. */
function Standing({ record, why }) {
  const { wait, last_error: error } = record;
  return html`<section class="standing" data-state=${record.state} aria-label="Why it is where it is">
    <div><p class="rule">${humane(why?.detail) || words(record.state)}</p>
      ${error && html`<p class="quiet"><b>${words(error.code)}</b> ${humane(error.message)}</p>`}
      ${why?.by?.length > 0 && html`<p class="quiet">by ${why.by.map(id => html`<${RecordLink} id=${id} key=${id} /> `)}</p>`}
      ${why?.place && html`<p class="quiet">${count(why.place.ahead_in_env)} ahead of it in its env, ${plural(why.place.orgs_in_rotation, 'org')} in rotation</p>`}
    </div>
    ${record.deadline && !FINISHED.includes(record.state) && html`<div class="until">
      <span class="big"><${Countdown} to=${record.deadline} /></span>
      <small>${due(record.state)} ${moment(record.deadline)}${wait?.source && ` · ${wait.estimated ? 'estimated' : 'told by the provider'}`}</small></div>`}
  </section>`;
}

function About({ record }) {
  const streaks = Object.entries(record.streaks).filter(([, number]) => number > 0);
  const link = (name, id) => id && [name, html`<${RecordLink} id=${id} />`];
  const facts = [
    ['Org / env', `${record.org} / ${record.env}`], ['Runtime', record.model ? `${record.runtime} · ${record.model}` : record.runtime],
    record.flow && ['Flow', record.flow], record.key && ['Key', record.key], record.lane && ['Lane', record.lane],
    record.group && ['Group', record.group], record.queue && ['Worker queue', record.queue],
    record.trigger && ['Trigger', html`<code>${record.trigger}</code>`], link('Rerun of', record.rerun_of), link('About', record.about),
    ['Admitted', html`<${Ago} at=${record.created_at} /> <span class="quiet">${moment(record.created_at)}</span>`],
    record.started_at && ['First started', html`<${Ago} at=${record.started_at} />`],
    record.finished_at && ['Finished', html`<${Ago} at=${record.finished_at} />`],
    record.expires_at && ['Expires', html`<${Countdown} to=${record.expires_at} />`],
    record.resume_token && ['Provider session', html`<code>${record.resume_token}</code>`],
    streaks.length > 0 && ['In a row', streaks.map(([name, number]) => `${number} ${words(name)}`).join(', ')],
    record.cause && ['Cause', words(record.cause)], record.shadow && ['Shadow', 'recorded, acted on nothing'],
    ...Object.entries(record.labels ?? {}),
  ].filter(Boolean);
  return html`<dl class="about">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const SHOWN_MAX = 100_000;
const pretty = value => {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}\n… ${text.length - SHOWN_MAX} more characters` : text;
};

function Asked({ record }) {
  const [tab, turn] = useState('action');
  const tabs = [['action', 'Action', record.action], ['payload', 'Payload', record.payload], ['result', 'Result', record.result]]
    .filter(([, , value]) => value !== undefined);
  const [, , value] = tabs.find(([name]) => name === tab) ?? tabs[0];
  return html`<${Panel} title="Asked and answered">
    <div class="tabs" role="group" aria-label="What is shown">${tabs.map(([name, title]) => html`
      <button key=${name} aria-pressed=${tab === name} onClick=${() => turn(name)}>${title}</button>`)}</div>
    <pre class="code" tabindex="0" aria-label=${tab}>${pretty(value)}</pre><//>`;
}
