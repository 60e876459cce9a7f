// Transitions a second by the state they lead to, for the last ten minutes. Counted from the events, so from when the page was opened.

import { STATES } from './states.js';
import { now } from './clock.js';

const SECONDS = 600;
const [WIDTH_MIN, WIDTH_MAX] = [60, 300];
const STARTED_KEPT = 5_000;

const buckets = new Map();
let begun = Infinity;
/** Ids of attempts that started, the latest last: whose they are is looked up when they are shown. */
export const started = [];

const second = at => Math.floor(at / 1000);

/** Counts from now on; what was before is not known, and is no zero. */
export function begin() {
  begun = second(now()) + 1;
}

export function count(step) {
  const at = second(Date.parse(step.at));
  const bucket = buckets.get(at) ?? {};
  bucket[step.to] = (bucket[step.to] ?? 0) + 1;
  buckets.set(at, bucket);
  if (buckets.size > SECONDS * 2) {
    [...buckets.keys()].filter(key => key < at - SECONDS).forEach(key => buckets.delete(key));
  }
  if (step.to === 'active' && step.from === 'queued') {
    started.push(step.id);
    if (started.length > STARTED_KEPT * 2) started.splice(0, STARTED_KEPT);
  }
}

/** `[seconds, a series for each state]` of the last minute, up to five as they pass, in the shape that plots take. */
export function series(states = STATES) {
  // This second is not over, and would be drawn as a fall.
  const end = second(now()) - 1;
  const width = Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, end - begun + 1));
  const times = Array.from({ length: width }, (_, n) => end - width + 1 + n);
  const at = (time, state) => (time < begun ? null : buckets.get(time)?.[state] ?? 0);
  return [times, ...states.map(state => times.map(time => at(time, state)))];
}

/** Of the last ten whole seconds. */
export function recent(state) {
  const end = second(now());
  let sum = 0;
  for (let at = end - 10; at < end; at += 1) sum += buckets.get(at)?.[state] ?? 0;
  return sum / 10;
}
