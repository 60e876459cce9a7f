// Records as cards in columns by state. Only cards in sight are in the page, so ten thousand cost what thirty do.

import { html, useEffect, useRef, useState } from '../lib.js';
import { useStore } from '../hooks.js';
import { RECORDS_PER_STATE_MAX, records } from '../store.js';
import { STATES, FINISHED } from '../states.js';
import { count, plural } from '../format.js';
import { Empty, Head, Loading } from '../parts/bits.js';
import { Column } from '../parts/column.js';
import { moveFocus } from '../parts/moves.js';

const filters = { text: '', runtime: '', org: '', kind: '' };

export function Board() {
  const { loaded, status } = useStore();
  const [wanted, want] = useState({ ...filters });
  const board = useRef(null);
  const all = [...records.values()];
  const columns = columnsOf(all, wanted);
  const set = (name, value) => want(seen => Object.assign(filters, { ...seen, [name]: value }) && { ...filters });
  const shown = STATES.reduce((total, state) => total + columns[state].length, 0);
  const more = STATES.some(state => status?.counts[state] > RECORDS_PER_STATE_MAX);
  useEffect(() => {
    // The overview links to a column.
    const state = location.hash.split('?')[1];
    if (STATES.includes(state)) board.current?.querySelector(`.column[data-state=${state}]`)?.scrollIntoView({ block: 'nearest', inline: 'start' });
  }, [loaded]);
  return html`
    <${Head} title="Board" lead=${html`${count(shown)} of ${plural(all.length, 'record')}${more ? `, at most ${count(RECORDS_PER_STATE_MAX)} of a state` : ''}.<span class="keys"> Arrows move, Enter opens, / searches.</span>`}>
      <${Filters} all=${all} wanted=${wanted} set=${set} />
    <//>
    ${!loaded && all.length === 0 ? html`<${Loading} />` : html`
      ${shown === 0 && html`<${Empty}>${all.length > 0 ? 'No record matches.' : html`No records yet. <code>dwell run</code>, a trigger or <code>POST /v1/sessions</code> makes one.`}<//>`}
      <div class="board" role="group" aria-label="Records by state" tabindex=${shown === 0 ? 0 : undefined} ref=${board} onKeyDown=${event => moveFocus(event, board.current)}>
        ${STATES.map(state => html`<${Column} key=${state} state=${state} cards=${columns[state]}
          total=${status?.counts[state]} filtered=${Object.values(wanted).some(Boolean)} />`)}
      </div>`}`;
}

function Filters({ all, wanted, set }) {
  const [runtimes, orgs] = ['runtime', 'org'].map(name => [...new Set(all.map(record => record[name]).filter(Boolean))].sort());
  const choice = (name, title, values) => html`<label><span class="hidden">${title}</span>
    <select value=${wanted[name]} onChange=${event => set(name, event.currentTarget.value)}>
      <option value="">${title}: all</option>${values.map(value => html`<option value=${value} key=${value}>${value}</option>`)}
    </select></label>`;
  return html`<div class="filters" role="search">
    <label><span class="hidden">Search</span><input type="search" id="search" placeholder="Search id, flow, key, org, reason"
      value=${wanted.text} onInput=${event => set('text', event.currentTarget.value)} /></label>
    ${choice('kind', 'Kind', ['session', 'run'])}${choice('runtime', 'Runtime', runtimes)}${choice('org', 'Org', orgs)}
  </div>`;
}

/** The cards of each state, in the order in which something happens to them; finished ones the latest first. */
function columnsOf(all, wanted) {
  const columns = Object.fromEntries(STATES.map(state => [state, []]));
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const record of all) {
    if (fits(record, wanted, words)) columns[record.state]?.push(record);
  }
  for (const state of STATES) {
    const late = FINISHED.includes(state) || state === 'dead_lettered';
    const of = late ? record => record.updated_at : record => record.deadline ?? record.created_at;
    const keyed = columns[state].map(record => [of(record), record]);
    keyed.sort(([a, x], [b, y]) => (a === b ? (x.id < y.id ? -1 : 1) : (a < b) !== late ? -1 : 1));
    columns[state] = keyed.map(([, record]) => record);
  }
  return columns;
}

function fits(record, wanted, words) {
  if (wanted.runtime && record.runtime !== wanted.runtime) return false;
  if (wanted.org && record.org !== wanted.org) return false;
  if (wanted.kind && record.kind !== wanted.kind) return false;
  if (words.length === 0) return true;
  const text = [record.id, record.flow, record.key, record.org, record.env, record.runtime, record.model,
    record.cause, record.hold, record.last_error?.message, record.detail].join(' ').toLowerCase();
  return words.every(word => text.includes(word));
}
