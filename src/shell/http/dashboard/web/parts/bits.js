// Small pieces that every view is made of.

import { html, useRef, useLayoutEffect } from '../lib.js';
import { useTick } from '../hooks.js';
import * as clock from '../clock.js';
import { ago, humane, isForEver, left, moment, shortId, unit } from '../format.js';
import { Unreachable } from '../api.js';
import { label } from '../states.js';

/** A state as a word with its colour. */
export const State = ({ name }) => html`<span class="state" data-state=${name}>${label(name)}</span>`;

/** Counts down to a durable deadline by the server's clock. Its text changes by itself, without rendering anything around it. */
export function Countdown({ to, done = 'due' }) {
  const shown = useRef(null);
  const text = () => {
    if (isForEver(to)) return 'until resumed';
    const ms = Date.parse(to) - clock.now();
    return ms <= 0 ? done : left(ms);
  };
  const write = () => {
    const [node, now] = [shown.current, text()];
    if (node && node.textContent !== now) node.textContent = now;
  };
  useTick(write);
  useLayoutEffect(write);
  return html`<time class="countdown" datetime=${to} title=${moment(to)} ref=${shown}></time>`;
}

/** How long ago, kept up to date. */
export const Ago = ({ at }) => html`<${Passing} at=${at} as=${ago} />`;

/** For how long already. */
export const For = ({ since }) => html`<${Passing} at=${since} as=${unit} />`;

function Passing({ at, as }) {
  const shown = useRef(null);
  const write = () => {
    const [node, now] = [shown.current, as(at, clock.now())];
    if (node && node.textContent !== now) node.textContent = now;
  };
  useTick(write);
  useLayoutEffect(write);
  return html`<time datetime=${at} title=${moment(at)} ref=${shown}></time>`;
}

export const RecordLink = ({ id }) => html`<a class="id" href=${`#/record/${id}`} title=${id}>${shortId(id)}</a>`;

/** A view's name, what it says about itself, and what can be done there. */
export const Head = ({ title, lead, children }) => html`<div class="head">
  <div><h1>${title}</h1>${lead && html`<p class="lead">${lead}</p>`}</div>
  ${children && html`<div class="tools">${children}</div>`}
</div>`;

export const Panel = ({ title, note, children, wide, id }) => html`<section class=${`panel${wide ? ' wide' : ''}`} aria-label=${title} id=${id}>
  <h2>${title}${note && html`<small>${note}</small>`}</h2>${children}</section>`;

export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;
export const Loading = () => html`<p class="empty loading" role="status">Loading…</p>`;
/** What a refusal says; that the server is gone, the banner says already. */
export const Refusal = ({ problem }) => (problem instanceof Unreachable ? html`<${Empty}>This was not read before the server went.<//>`
  : problem ? html`<p class="refusal" role="alert">${humane(problem.message)}</p>` : null);

/** What stands for a list that is not there: it loads, it was refused, or nothing is in it. */
export function Rows({ of, empty, children }) {
  if (of.value) return of.value.items.length ? children : html`<${Empty}>${empty}<//>`;
  return of.problem ? html`<${Refusal} problem=${of.problem} />` : html`<${Loading} />`;
}

/** A share as a bar, with its words beside it for who cannot see it. */
export const Bar = ({ part, of, tone, words }) => html`<span class="bar" data-tone=${tone} role="img" aria-label=${words}>
  <i ref=${node => node && node.style.setProperty('width', `${of > 0 ? Math.min(100, (100 * part) / of) : 0}%`)}></i></span>`;
