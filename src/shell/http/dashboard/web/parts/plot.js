// Lines over time (uPlot), in the colours of the page. `read()` gives `[seconds, ...series]`; it is asked once a second.

import uPlot from '../vendor/uplot.js';
import { html, useEffect, useRef } from '../lib.js';
import { now } from '../clock.js';
import { colourOf } from './theme.js';
import { brief } from '../format.js';

const HEIGHT = 168;
const FONT = '11px system-ui, sans-serif';

/** `lines`: `[{name, colour}]`. The words say to a screen reader what is drawn. */
export function Plot({ lines, read, words, unit = brief }) {
  const place = useRef(null);
  useEffect(() => {
    const node = place.current;
    let plot = null;
    const make = () => {
      plot?.destroy();
      plot = new uPlot(options(lines, node.clientWidth, unit), read(), node);
    };
    make();
    const fit = new ResizeObserver(() => plot.setSize({ width: node.clientWidth, height: HEIGHT }));
    fit.observe(node);
    const timer = setInterval(() => document.hidden || plot.setData(read()), 1000);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', make);
    addEventListener('themechange', make);
    return () => {
      clearInterval(timer);
      fit.disconnect();
      dark.removeEventListener('change', make);
      removeEventListener('themechange', make);
      plot.destroy();
    };
  }, []);
  return html`<figure class="plot" role="img" aria-label=${words}>
    <div ref=${place}></div>
    <figcaption>${lines.map(line => html`<span key=${line.name}><i ref=${paint(line.colour)}></i>${line.name}</span>`)}</figcaption>
  </figure>`;
}

/** At least a minute, up to the latest that is known or now. */
function reach(_, low, high) {
  const end = high ?? now() / 1000;
  return [Math.min(low ?? end, end - 60), end];
}

const paint = colour => node => node && node.style.setProperty('background', colour);

function options(lines, width, unit) {
  const [grid, text] = [colourOf('var(--line)'), colourOf('var(--muted)')];
  const axis = { stroke: text, font: FONT, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  return {
    width, height: HEIGHT,
    padding: [8, 28, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true, range: reach }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.15)] } },
    axes: [
      { ...axis, space: 70, size: 26, values: (_, times) => times.map(at => new Date(at * 1000).toISOString().slice(11, 19)), grid: { show: false } },
      { ...axis, space: 36, size: 38, values: (_, values) => values.map(value => (Number.isInteger(value) ? unit(value) : '')) },
    ],
    series: [{}, ...lines.map(line => {
      const stroke = colourOf(line.colour);
      return { stroke, width: 1.5, fill: stroke.replace('rgb(', 'rgba(').replace(')', ', 0.08)'), points: { show: false } };
    })],
  };
}
