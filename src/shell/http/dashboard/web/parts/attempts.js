// The history of a record attempt by attempt: how each ended and why, and what happened in between. The latest is first.

import { html } from '../lib.js';
import { clockTime, humane, moment, span, words } from '../format.js';
import { Ago, Countdown, Empty, State } from './bits.js';
import * as clock from '../clock.js';

const SHOWN_MAX = 50;

export function Attempts({ steps, record }) {
  if (steps.length === 0) return html`<${Empty}>Its history is not retained any more.<//>`;
  const groups = grouped(steps).reverse();
  return html`<ol class="attempts" tabindex="0" aria-label="Attempts, the latest first">
    ${groups.slice(0, SHOWN_MAX).map(group => html`<${Attempt} key=${group.number} ...${group} record=${record} />`)}
    ${groups.length > SHOWN_MAX && html`<li class="quiet">${groups.length - SHOWN_MAX} earlier ones</li>`}
  </ol>`;
}

/** Steps under the attempt that they speak of; what was before the first is attempt 0. */
function grouped(steps) {
  const groups = [];
  for (const step of steps) {
    if (groups.at(-1)?.number !== step.attempt) groups.push({ number: step.attempt, steps: [] });
    groups.at(-1).steps.push(step);
  }
  return groups;
}

function Attempt({ number, steps, record }) {
  const begun = steps.find(step => step.to === 'active');
  const ended = begun && steps.find(step => step.from && ['active', 'draining'].includes(step.from) && !['active', 'draining'].includes(step.to));
  const until = ended ? Date.parse(ended.at) : clock.now();
  const took = begun && span(until - Date.parse(begun.at));
  return html`<li><h3>${number === 0 ? 'Before the first' : `Attempt ${number}`}
      <small>${begun ? `${took}${ended ? '' : ' so far'}` : ''}</small></h3>
    <ul>${steps.map((step, n) => html`<${Step} key=${n} step=${step} />`)}
      ${number === record.attempt && record.deadline && record.wait && html`<li class="next"><span></span><span>goes on in <${Countdown} to=${record.deadline} /></span></li>`}
    </ul></li>`;
}

const Step = ({ step }) => html`<li data-state=${step.to}>
  <time datetime=${step.at} title=${moment(step.at)}>${clockTime(step.at)}</time>
  <span><b>${words(step.event)}</b>${step.from !== step.to && html` <${State} name=${step.to} />`}
    ${step.detail && html`<span class="detail">${humane(step.detail)}</span>`}</span></li>`;
