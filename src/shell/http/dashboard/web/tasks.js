// What sessions are about, in the words of who submitted them. Lists do not carry it, so it is read for those in sight only.

import { get, Refused } from './api.js';
import { changed, view } from './store.js';

const KEPT_MAX = 20_000;
/** Beyond it, those that were passed long ago are forgotten: nobody looks at them any more. */
const WANTED_MAX = 80;
const AT_ONCE = 8;
/** Between two batches: who scrolls through thousands does not ask for each. */
const EVERY = 150;

const tasks = new Map();
let wanted = [];
let timer = null;

/** How a record is called; one that has no better name yet gets it a little later. */
export const nameOf = record => record.flow || record.key || task(record) || record.queue || record.runtime || record.kind;

function task({ id, kind, bare }) {
  if (kind !== 'session' || bare) return null;
  if (view.connection === 'live' && !tasks.has(id) && !wanted.includes(id)) {
    wanted = [...wanted, id].slice(-WANTED_MAX);
    timer ??= setTimeout(read, EVERY);
  }
  return tasks.get(id);
}

/** A record that is not there any more has no name; a server that is gone is asked again. */
const refused = error => (error instanceof Refused ? {} : null);

async function read() {
  const ids = wanted.slice(-AT_ONCE);
  const found = await Promise.all(ids.map(id => get(`/v1/records/${id}`).catch(refused)));
  if (tasks.size > KEPT_MAX) tasks.clear();
  ids.forEach((id, n) => found[n] && tasks.set(id, found[n].task));
  wanted = wanted.filter(id => !ids.includes(id));
  timer = wanted.length > 0 ? setTimeout(read, EVERY) : null;
  changed();
}
