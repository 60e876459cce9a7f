// Numbers, times and ids as people read them.

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const FOR_EVER = Date.parse('9999-01-01T00:00:00Z');
const two = number => String(number).padStart(2, '0');

const grouped = new Intl.NumberFormat('en-US');
export const count = number => grouped.format(number ?? 0);

/** 12345 as `12k`. */
export function brief(number) {
  if (number < 10_000) return count(number);
  if (number < 1_000_000) return `${Math.round(number / 1000)}k`;
  return `${(number / 1_000_000).toFixed(1)}M`;
}

export const rate = number => (number >= 10 ? count(Math.round(number)) : number.toFixed(number === 0 ? 0 : 1));

/** Seconds as `180 µs`, `1.2 ms`, `3.1 s`. */
export function seconds(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return '–';
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return `${value.toFixed(1)} s`;
}

/** Milliseconds as `2d 3h`, `1:02:03`, `4:05`. Rounded up: 0 means that it is due. */
export function left(ms) {
  const whole = Math.max(0, Math.ceil(ms / SECOND));
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const [minutes, secs] = [Math.floor(whole / 60) % 60, whole % 60];
  if (days) return `${days}d ${hours}h`;
  return hours ? `${hours}:${two(minutes)}:${two(secs)}` : `${minutes}:${two(secs)}`;
}

/** Milliseconds as `12s`, `3m`, `2h 5m`, `4d`. */
export function span(ms) {
  if (ms < MINUTE) return ms < SECOND ? `${Math.max(0, Math.round(ms))}ms` : `${Math.floor(ms / SECOND)}s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)}m ${Math.floor(ms / SECOND) % 60}s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)}h ${Math.floor(ms / MINUTE) % 60}m`;
  return `${Math.floor(ms / DAY)}d ${Math.floor(ms / HOUR) % 24}h`;
}

export const isForEver = text => Date.parse(text) >= FOR_EVER;

/** How long it is since then, as one unit. */
export function unit(text, now) {
  const ms = Math.max(0, now - Date.parse(text));
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)}s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)}m`;
  return ms < DAY ? `${Math.floor(ms / HOUR)}h` : `${Math.floor(ms / DAY)}d`;
}

/** How long ago, as one unit. */
export function ago(text, now) {
  if (!text) return '–';
  return now - Date.parse(text) < SECOND ? 'just now' : `${unit(text, now)} ago`;
}

/** `2026-11-21 14:03:12 UTC`. */
export const moment = text => (text ? `${text.slice(0, 10)} ${text.slice(11, 19)} UTC` : '–');
export const clockTime = text => (text ? text.slice(11, 19) : '–');

/** A sentence of the server's with its times as `moment` has them; a fault may have a code and no words behind it. */
export const humane = text => (text ?? '').replace(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, moment).replace(/: ?$/, '');

/** The end of an id tells records of one burst apart; its kind stays readable. */
export const shortId = id => `${id.slice(0, 4)}…${id.slice(-6)}`;

export const bytes = size => (size >= 2 ** 30 ? `${(size / 2 ** 30).toFixed(1)} GiB` : `${Math.round(size / 2 ** 20)} MiB`);

export const words = name => (name ?? '').replaceAll('_', ' ');
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
