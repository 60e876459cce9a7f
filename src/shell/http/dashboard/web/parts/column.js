// One column of the board: as many cards as are in sight, at their places in a list as long as all of them.

import { html, useEffect, useLayoutEffect, useRef, useState } from '../lib.js';
import { brief, count, humane, words } from '../format.js';
import { due, label } from '../states.js';
import { nameOf } from '../tasks.js';
import { Ago, Countdown } from './bits.js';

// Of each column the first card in sight is reached with Tab, the others with the arrows.

/** The height of a card with the space below it, as the style sheet has it. */
export const CARD = 82;
const BEYOND = 4;

export function Column({ state, cards, total, filtered }) {
  const list = useRef(null);
  // Which card is at the top: a few pixels of scrolling draw nothing anew.
  const [entry, enter] = useState(0);
  const scroll = node => enter(Math.ceil(node.scrollTop / CARD));
  const [height, size] = useState(600);
  useLayoutEffect(() => {
    const fit = new ResizeObserver(() => list.current && size(list.current.clientHeight));
    fit.observe(list.current);
    return () => fit.disconnect();
  }, []);
  // A list that became shorter may not reach to where it was scrolled to.
  useEffect(() => scroll(list.current), [cards.length]);
  const first = Math.max(0, entry - BEYOND);
  const last = Math.min(cards.length, entry + Math.ceil(height / CARD) + BEYOND);
  const shown = filtered ? cards.length : Math.max(total ?? 0, cards.length);
  return html`<section class=${`column${cards.length ? '' : ' bare'}`} data-state=${state} aria-label=${`${label(state)}, ${count(shown)}`}>
    <h2><span class="state" data-state=${state}>${label(state)}</span><b title=${count(shown)}>${brief(shown)}</b></h2>
    <div class="cards" ref=${list} tabindex=${cards.length ? '-1' : undefined} onScroll=${event => scroll(event.currentTarget)}>
      <ul ref=${node => node && node.style.setProperty('height', `${cards.length * CARD}px`)}>
        ${cards.slice(first, last).map((record, n) => html`<${Card} key=${record.id} record=${record} at=${first + n} of=${cards.length} entry=${Math.min(entry, cards.length - 1)} />`)}
      </ul>
    </div>
  </section>`;
}

function Card({ record, at, of, entry }) {
  const place = node => node && node.style.setProperty('transform', `translateY(${at * CARD}px)`);
  const { id, state, attempt } = record;
  return html`<li ref=${place} aria-setsize=${of} aria-posinset=${at + 1}>
    <a class="card" href=${`#/record/${id}`} data-id=${id} data-state=${state} data-at=${at} tabindex=${at === entry ? 0 : -1}>
      <span class="line"><b class="cut" title=${nameOf(record)}>${nameOf(record)}</b>${attempt > 0 && html`<span class="quiet" title="attempt">#${attempt}</span>`}</span>
      <span class="line quiet"><span class="cut">${record.org && `${record.org}/${record.env}`}</span>${record.deadline && !['completed', 'cancelled'].includes(state)
        ? html`<span class="due" title=${due(state)}><${Countdown} to=${record.deadline} /></span>`
        : html`<span class="due quiet"><${Ago} at=${record.updated_at} /></span>`}</span>
      <span class="line quiet"><span class="reason" title=${reason(record)}>${reason(record)}</span><code>${id.slice(-6)}</code></span>
    </a></li>`;
}

/** Why it is where it is, in a few words. */
function reason(record) {
  if (record.hold) return words(record.hold);
  if (record.wait) return record.wait.estimated ? `${words(record.wait.reason)}, estimated` : words(record.wait.reason);
  if (record.cause) return words(record.cause);
  // As the event told it, the cause comes first.
  if (record.state === 'dead_lettered') return words(record.detail?.split(/[,:]/)[0]);
  return humane(record.detail) || record.model || record.runtime || '';
}
