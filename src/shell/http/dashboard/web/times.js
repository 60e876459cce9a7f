// How long ticks and commits take, from the histograms of `/metrics`.

import { open } from './api.js';

const EVERY = 5_000;
/** A minute of scrapes: what is told is of the time since the oldest of them. */
const KEPT = 13;
const NAMES = ['tick_duration', 'commit_duration', 'deadline_lateness'];
const scrapes = [];

/** Scrapes as long as it is shown; answers how to stop. */
export function follow(told) {
  let alive = true;
  const read = async () => {
    try {
      if (document.hidden) return;
      scrapes.push(parse(await (await open('/metrics')).text()));
      if (scrapes.length > KEPT) scrapes.shift();
      if (alive) told();
    } catch {
      // A server that is gone is told elsewhere; who may not read the metrics sees none.
    }
  };
  read();
  const timer = setInterval(read, EVERY);
  return () => {
    alive = false;
    clearInterval(timer);
  };
}

/** By name, the buckets `[upper bound in seconds, how many so far]`. */
function parse(text) {
  const found = Object.fromEntries(NAMES.map(name => [name, []]));
  for (const [, name, bound, number] of text.matchAll(/^dwell_(\w+)_seconds_bucket\{le="([^"]+)"\} (\d+)/gm)) {
    found[name]?.push([bound === '+Inf' ? Infinity : Number(bound), Number(number)]);
  }
  return found;
}

/** Seconds that `part` of the latest ones did not exceed, as far as buckets tell; null where there were none. */
export function quantile(name, part) {
  const latest = scrapes.at(-1)?.[name];
  if (!latest?.length) return null;
  const before = scrapes.length > 1 ? scrapes[0][name] : [];
  const counts = latest.map(([bound, number], n) => [bound, number - (before[n]?.[1] ?? 0)]);
  // A server that was started anew counts from 0 again.
  const total = counts.at(-1)[1];
  if (total <= 0) return null;
  let [low, under] = [0, 0];
  for (const [bound, number] of counts) {
    if (number >= part * total) {
      return bound === Infinity ? low : low + ((bound - low) * (part * total - under)) / Math.max(1, number - under);
    }
    [low, under] = [bound, number];
  }
  return low;
}
