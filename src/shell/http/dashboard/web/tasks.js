// What sessions are about, in the words of who submitted them. Lists do not carry it, so it is read for those in sight only.

import { get } from './api.js';
import { changed } from './store.js';

const KEPT_MAX = 20_000;
/** Beyond it, those that were passed long ago are forgotten: nobody looks at them any more. */
const WANTED_MAX = 80;
const AT_ONCE = 4;
const GATHERED_FOR = 120;

const tasks = new Map();
let wanted = [];
let timer = null;

/** How a record is called; one that has no better name yet gets it a little later. */
export const nameOf = record => record.flow || record.key || task(record) || record.queue || record.runtime || record.kind;

function task({ id, kind, bare }) {
  if (kind !== 'session' || bare) return null;
  if (!tasks.has(id) && !wanted.includes(id)) {
    wanted = [...wanted, id].slice(-WANTED_MAX);
    timer ??= setTimeout(read, GATHERED_FOR);
  }
  return tasks.get(id);
}

async function read() {
  while (wanted.length > 0) {
    const ids = wanted.slice(-AT_ONCE);
    const found = await Promise.all(ids.map(id => get(`/v1/records/${id}`).catch(() => null)));
    if (tasks.size > KEPT_MAX) tasks.clear();
    ids.forEach((id, n) => tasks.set(id, found[n]?.task));
    wanted = wanted.filter(id => !ids.includes(id));
    changed();
  }
  timer = null;
}
