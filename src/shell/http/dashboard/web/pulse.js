// How many ticks and commits a second, from one status to the next, for the last ten minutes.

const KEPT = 300;
const samples = [];
let last = null;

/** A status that was just read. */
export function take(status) {
  const { ticks, commits, read } = status;
  const at = Date.parse(status.now) / 1000;
  if (last && read > last.read && ticks >= last.ticks && at > (samples.at(-1)?.at ?? 0)) {
    const each = name => ((status[name] - last[name]) * 1000) / (read - last.read);
    samples.push({ at, ticks: each('ticks'), commits: each('commits') });
    if (samples.length > KEPT) samples.shift();
  }
  last = { ticks, commits, read };
}

/** `[seconds, ticks, commits]`, in the shape that plots take. */
export const series = () => [samples.map(one => one.at), samples.map(one => one.ticks), samples.map(one => one.commits)];
export const latest = name => samples.at(-1)?.[name] ?? 0;
