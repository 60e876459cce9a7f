// `GET /v1/events` by fetch, so that it can carry a token: each committed transition, and on from the last one after a break.

import { open, Refused } from './api.js';

const RETRY_FIRST = 500, RETRY_MAX = 5_000;
/** The server says something every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MAX = 40_000;
/** A browser has six connections to a server for all its tabs, and each stream holds one: a hidden tab lets its own go. */
const HIDDEN_MAX = 1_000;
/** What passed in a longer absence is faster read anew than told. */
const ABSENT_MAX = 60_000;

let stop = new AbortController();
let wake = () => {};

/** Does not wait any longer before it tries again. */
export const hurry = () => wake();

/** What was followed is another's: begins anew, as from an opened page. */
export const anew = () => stop.abort('afresh');

/** Follows until the page goes. `on.opened(afresh)`, `on.step(transition)`, `on.gone(error)`. */
export async function follow(on) {
  let last = null;
  let wait = RETRY_FIRST;
  letGoWhileHidden();
  for (;;) {
    if (document.hidden && await shown() > ABSENT_MAX) last = null;
    stop = new AbortController();
    try {
      const headers = last ? { 'Last-Event-ID': last } : {};
      const response = await open('/v1/events', { headers, signal: stop.signal });
      wait = RETRY_FIRST;
      on.opened(last === null);
      await read(response.body, block => {
        last = block.id ?? last;
        if (block.data) on.step(JSON.parse(block.data));
      });
      on.gone(null);
    } catch (error) {
      const { reason } = stop.signal;
      if (reason === 'afresh') last = null;
      if (reason === 'afresh' || reason === 'hidden') continue;
      // What came after our position is not there any more, or it is another store's: begin anew.
      if (error instanceof Refused && [400, 410].includes(error.status)) last = null;
      on.gone(error);
    }
    await new Promise(done => {
      wake = done;
      setTimeout(done, wait);
    });
    wait = Math.min(wait * 2, RETRY_MAX);
  }
}

/** Until the tab is looked at: for how long it was not. */
async function shown() {
  const since = performance.now();
  while (document.hidden) await new Promise(done => document.addEventListener('visibilitychange', done, { once: true }));
  return performance.now() - since;
}

function letGoWhileHidden() {
  let timer = null;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => stop.abort('hidden'), HIDDEN_MAX);
  });
}

async function read(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const timer = setTimeout(() => stop.abort(), SILENCE_MAX);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    blocks.forEach(block => take(parse(block)));
  }
}

function parse(block) {
  const fields = {};
  for (const line of block.split('\n')) {
    const at = line.indexOf(': ');
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
  }
  return fields;
}
