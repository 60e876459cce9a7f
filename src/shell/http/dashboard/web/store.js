// What is known: records by id, the status, and whether the server is there. Fed by the events and by reading anew;
// views only read it. Absent on purpose: anything that is kept for longer than the page is open.

import * as api from './api.js';
import * as clock from './clock.js';
import * as pulse from './pulse.js';
import * as rates from './rates.js';
import { anew, follow, hurry } from './feed.js';
import { LIVE, FINISHED } from './states.js';

const PAGE = 1000;
/** Of one state; beyond it the board says how many there are and shows these. */
export const RECORDS_PER_STATE_MAX = 10_000;
/** What is asked for a state at most: pages that find little are short. */
const PAGES_MAX = 50;
const FINISHED_KEPT = 500;
/** Beyond it, what only events told of has piled up for days: everything is read anew. */
const RECORDS_MAX = 100_000;
const STATUS_EVERY = 2_000;
const FILL_EVERY = 1_000;
const TELL_EVERY = 200;
/** One more millisecond between two for so many records: what many of them cost to draw leaves the page free. */
const RECORDS_PER_MS = 25;
/** Records that the events named and no list has shown yet are read one by one, so many at a time. */
const FILLS_AT_ONCE = 20;

export const records = new Map();
export const view = { status: null, connection: 'connecting', loaded: false, needsToken: false, refused: null };

const listeners = new Set();
const watchers = new Set();
const bare = new Set();
let telling = null;

/** Told a few times a second, however much changes. */
export function listen(told) {
  listeners.add(told);
  return () => listeners.delete(told);
}

/** Told of every transition. */
export function watch(told) {
  watchers.add(told);
  return () => watchers.delete(told);
}

export function changed() {
  telling ??= setTimeout(() => {
    telling = null;
    listeners.forEach(told => told());
  }, Math.max(TELL_EVERY, records.size / RECORDS_PER_MS));
}

export const known = id => records.get(id);

/** What is known of a record, unless something newer is. */
export function learn(record) {
  const seen = records.get(record.id);
  if (seen && seen.updated_at > record.updated_at) return;
  records.set(record.id, record);
  bare.delete(record.id);
}

export async function start() {
  api.whenUnauthorized(detail => {
    Object.assign(view, { needsToken: true, refused: api.token() ? detail : null });
    changed();
  });
  setInterval(() => document.hidden || look(), STATUS_EVERY);
  setInterval(() => document.hidden || fill(), FILL_EVERY);
  document.addEventListener('visibilitychange', () => document.hidden || look());
  await look();
  // Once more, to know at once whether its time goes on.
  setTimeout(look, 400);
  follow({
    opened: afresh => {
      connected();
      if (afresh) {
        forget();
        rates.begin();
      }
      if (afresh || !view.loaded) load();
    },
    step,
    gone: error => {
      if (!(error instanceof api.Refused)) disconnected();
    },
  });
}

/** Asks with a token; the page opens if it is one, and says in the server's words why it is not. */
export async function signIn(text) {
  // Nothing else can be sent in a header.
  if (!/^[\x21-\x7e]+$/.test(text)) {
    Object.assign(view, { refused: 'a token has no spaces, and only letters, digits and signs of ASCII' });
    changed();
    return;
  }
  api.keepToken(text);
  try {
    await api.get('/v1/status');
    Object.assign(view, { needsToken: false, refused: null });
    look();
    hurry();
  } catch (problem) {
    Object.assign(view, { needsToken: true, refused: problem.message });
  }
  changed();
}

/** Forgets the token, and all that it let this page see. */
export function signOut() {
  api.dropToken();
  forget();
  Object.assign(view, { status: null, loaded: false, needsToken: true, refused: null });
  anew();
  changed();
}

function step(transition) {
  clock.saw(transition.at);
  rates.count(transition);
  const seen = records.get(transition.id);
  if (!seen) bare.add(transition.id);
  if (!seen || seen.updated_at <= transition.at) {
    const { id, to, attempt, deadline, at, detail, event } = transition;
    const kind = id.startsWith('run') ? 'run' : 'session';
    const of = seen ?? { id, kind, created_at: at, org: '', env: '', runtime: '', bare: true };
    const cleared = { hold: undefined, wait: undefined, lane: undefined, cause: undefined };
    records.set(id, { ...of, ...cleared, state: to, attempt, deadline, detail, event, updated_at: at });
  }
  watchers.forEach(told => told(transition));
  changed();
}

async function look() {
  const asked = performance.now();
  try {
    const status = await api.get('/v1/status');
    if (view.needsToken) return;
    clock.tell(status.now, asked, performance.now());
    view.status = { ...status, read: performance.now() };
    pulse.take(view.status);
    connected();
  } catch (error) {
    if (error instanceof api.Unreachable) disconnected();
  }
  changed();
}

function connected() {
  view.connection = 'live';
  changed();
}

function disconnected() {
  if (view.connection !== 'gone') Object.assign(view, { connection: 'gone', goneAt: Date.now() });
  changed();
}

/** What came between is not known, so nothing that is kept can be believed. */
function forget() {
  records.clear();
  bare.clear();
}

/** Every live record, as far as they are shown, and the latest finished ones. */
async function load() {
  try {
    const counts = view.status?.counts ?? (await api.get('/v1/status')).counts;
    for (const state of [...LIVE, ...FINISHED].filter(state => counts[state] > 0)) {
      await Promise.all(['sessions', 'runs'].map(kind => pages(kind, state)));
      changed();
    }
    view.loaded = true;
  } catch (error) {
    if (error instanceof api.Unreachable) disconnected();
  }
  changed();
}

/** Page after page of a live state. Of finished ones there may be millions that are looked through for one, so one page is all. */
async function pages(kind, state) {
  const most = LIVE.includes(state) ? RECORDS_PER_STATE_MAX : FINISHED_KEPT;
  let cursor;
  for (let [asked, read] = [0, 0]; read < most && asked < PAGES_MAX; asked += 1) {
    const page = await api.get(`/v1/${kind}${api.query({ state, limit: Math.min(PAGE, most - read), cursor })}`);
    page.items.forEach(learn);
    read += page.items.length;
    cursor = page.cursor;
    if (!cursor || FINISHED.includes(state)) return;
  }
}

/** Reads what the events named first: the newest in two lists, what is left one by one. */
async function fill() {
  if (records.size > RECORDS_MAX) {
    forget();
    await load();
  }
  trim();
  if (bare.size === 0 || view.connection !== 'live') return;
  try {
    const limit = Math.min(PAGE, bare.size + 50);
    for (const kind of ['sessions', 'runs']) {
      const page = await api.get(`/v1/${kind}${api.query({ limit })}`);
      page.items.filter(item => bare.has(item.id)).forEach(about);
    }
    const rest = [...bare].slice(0, FILLS_AT_ONCE);
    (await Promise.all(rest.map(id => api.get(`/v1/records/${id}`)))).forEach(about);
  } catch {
    // A record that was purged meanwhile, or a server that is gone: the next look says which.
    [...bare].slice(0, FILLS_AT_ONCE).forEach(id => bare.delete(id));
  }
  changed();
}

/** The events may know a later step than the list; what does not change is taken in any case. */
function about(record) {
  const seen = records.get(record.id);
  bare.delete(record.id);
  if (!seen || seen.updated_at <= record.updated_at) {
    records.set(record.id, record);
    return;
  }
  const { state, attempt, deadline, detail, event, updated_at } = seen;
  records.set(record.id, { ...record, state, attempt, deadline, detail, event, updated_at, bare: undefined });
}

/** Finished records are kept for a while only. */
function trim() {
  const finished = [...records.values()].filter(record => FINISHED.includes(record.state));
  if (finished.length <= FINISHED_KEPT * 4) return;
  finished.sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
  finished.slice(FINISHED_KEPT * 2).forEach(record => {
    records.delete(record.id);
    bare.delete(record.id);
  });
}
