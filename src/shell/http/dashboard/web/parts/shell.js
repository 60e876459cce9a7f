// Around every view: the way to the others, the banner of a server that is gone, dark or light.

import { html, useEffect, useRef, useState } from '../lib.js';
import { useStore, useTick } from '../hooks.js';
import { signOut } from '../store.js';
import { token } from '../api.js';
import * as clock from '../clock.js';
import { brief, count } from '../format.js';
import { Icon } from './icon.js';
import { applyTheme, nextTheme, theme } from './theme.js';

const PLACES = [
  ['overview', 'Overview'], ['board', 'Board'], ['runtimes', 'Runtimes'],
  ['queues', 'Queues'], ['flows', 'Flows'], ['dead', 'Dead letters'],
];

export function Shell({ current, children }) {
  const { status } = useStore();
  const dead = status?.counts.dead_lettered ?? 0;
  const nav = useRef(null);
  // On narrow screens the views are a row that is wider than the page.
  useEffect(() => nav.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' }), [current]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the view</a>
    <header class="top">
      <a class="brand" href="#/overview" aria-label="dwell, overview"><${Icon} name="brand" /><span>dwell</span></a>
      <nav aria-label="Views" ref=${nav}>
        ${PLACES.map(([name, title]) => html`
          <a href=${`#/${name}`} aria-current=${current === name || (name === 'board' && current === 'record') ? 'page' : undefined} key=${name}>
            <${Icon} name=${name} /><span>${title}</span>
            ${name === 'dead' && dead > 0 && html`<b class="tally" title=${count(dead)}>${brief(dead)}</b>`}
          </a>`)}
      </nav>
      <div class="foot"><${Server} /><span class="switches"><${ThemeSwitch} />${token() && html`<button class="icon" id="sign-out" title="Sign out"
        aria-label="Sign out" onClick=${signOut}><${Icon} name="out" /></button>`}</span></div>
    </header>
    <div class="page"><${Banner} />${children}</div>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Server() {
  const { connection, status } = useStore();
  const [time, set] = useState('');
  useTick(() => set(new Date(clock.now()).toISOString().slice(11, 19)));
  const words = { live: 'Live', gone: 'Disconnected', connecting: 'Connecting' }[connection];
  return html`<div class="server" data-connection=${connection}>
    <span class="pulse" aria-hidden="true"></span>
    <span><b>${words}</b><small title="The server’s clock">${time} UTC${status && ` · ${status.version}`}</small></span>
  </div>`;
}

function ThemeSwitch() {
  const [chosen, set] = useState(theme());
  useEffect(() => applyTheme(chosen), [chosen]);
  const named = { system: 'as the system has it', light: 'light', dark: 'dark' }[chosen];
  return html`<button class="icon" title=${`Colours: ${named}`} aria-label=${`Colours: ${named}. Change`}
    onClick=${() => set(nextTheme(chosen))}><${Icon} name=${chosen} /></button>`;
}

function Banner() {
  const { connection, status } = useStore();
  if (connection === 'gone') {
    return html`<div class="banner bad" role="alert" id="gone">
      <b>The server is gone.</b> What you see is what it said last. This page comes back by itself.</div>`;
  }
  const full = status?.disk?.full;
  const drained = status?.drains?.length > 0;
  if (!full && !drained && !status?.draining_until) return null;
  return html`<div class="banner" role="status">
    ${full && html`<b>The disk is nearly full:</b> new work is refused. `}
    ${status.draining_until && html`<b>dwell is stopping:</b> nothing new starts. `}
    ${drained && html`<b>Drained:</b> ${status.drains.join(', ')}. What waits there keeps its place.`}
  </div>`;
}
