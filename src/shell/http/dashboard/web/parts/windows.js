// The pauses and windows of one runtime on a line of time: the last hour, now, and as far ahead as the longest reaches.

import { html, useState } from '../lib.js';
import { useTick } from '../hooks.js';
import * as clock from '../clock.js';
import { isForEver, moment, span } from '../format.js';

const HOUR = 3_600_000;
const BEFORE = HOUR / 2;
const SCALES = [2, 6, 24, 72, 24 * 8].map(hours => hours * HOUR);
const [WIDTH, ROW] = [1000, 18];

export function Windows({ row }) {
  const [now, tick] = useState(clock.now());
  useTick(() => Math.abs(clock.now() - now) >= 1000 && tick(clock.now()));
  const bars = [...held('', row), ...(row.models ?? []).flatMap(model => held(model.model, model))];
  if (bars.length === 0) return null;
  const ahead = Math.max(...bars.filter(bar => !bar.open).map(bar => bar.until - now), 0);
  const reach = SCALES.find(scale => scale >= ahead * 1.1) ?? SCALES.at(-1);
  const x = at => (WIDTH * Math.min(1, Math.max(0, (at - now + BEFORE) / (reach + BEFORE)))).toFixed(1);
  const height = bars.length * ROW;
  const ticks = [0.25, 0.5, 0.75, 1].map(part => part * reach);
  return html`<div class="windows" role="img" aria-label=${bars.map(bar => bar.words).join('; ')}>
    <svg viewBox=${`0 0 ${WIDTH} ${height}`} preserveAspectRatio="none" height=${height}>
      ${ticks.map(ahead => html`<line key=${ahead} x1=${x(now + ahead)} x2=${x(now + ahead)} y1="0" y2=${height} class="grid-line" />`)}
      ${bars.map((bar, n) => html`<rect key=${n} class=${bar.kind} x=${x(bar.since)} y=${n * ROW + 4} height=${ROW - 8} rx="3"
        width=${Math.max(4, x(bar.until) - x(bar.since))}><title>${bar.words}</title></rect>`)}
      <line x1=${x(now)} x2=${x(now)} y1="0" y2=${height} class="now-line" />
    </svg>
    <div class="scale" aria-hidden="true">${[0, ...ticks].map(ahead => html`<span key=${ahead} ref=${node => node && node.style.setProperty('left', `${x(now + ahead) / 10}%`)}>
      ${ahead === 0 ? 'now' : `+${span(ahead).replace(/ 0[ms]$| 0h$/, '')}`}</span>`)}</div>
  </div>`;
}

/** What holds a runtime or a model of it, as stretches of time. */
function held(name, row) {
  const of = name ? `${name}: ` : '';
  const bars = [];
  if (row.limited && row.state === 'limited') {
    const { since, until, estimated } = row.limited;
    const words = `${of}limited until ${moment(until)}, ${estimated ? 'estimated' : 'told by the provider'}`;
    bars.push({ kind: estimated ? 'estimated' : 'told', since: Date.parse(since), until: Date.parse(until), words });
  }
  if (row.paused_until && row.state === 'paused') {
    const open = isForEver(row.paused_until);
    const words = `${of}paused ${open ? 'until it is resumed' : `until ${moment(row.paused_until)}`}`;
    bars.push({ kind: 'paused', since: clock.now(), until: Date.parse(row.paused_until), open, words });
  }
  return bars;
}
