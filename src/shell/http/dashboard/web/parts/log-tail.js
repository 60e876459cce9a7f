// What the attempts wrote, as it is written: the end of it, kept to a bound.

import { html, useEffect, useLayoutEffect, useRef, useState } from '../lib.js';
import { open } from '../api.js';
import { useStore, useVisible } from '../hooks.js';
import { Empty, Refusal } from './bits.js';

const KEPT = 200_000;
const SHOW_EVERY = 150;

/** Another attempt is another stream, so the latest one is followed. */
export function LogTail({ id, attempt }) {
  const [text, show] = useState(null);
  const [problem, refuse] = useState(null);
  const [over, end] = useState(false);
  const place = useRef(null);
  const pinned = useRef(true);
  // A stream holds one of the few connections that all tabs have together; and a server that came back is asked again.
  const read = useVisible() && useStore().connection === 'live';
  useEffect(() => show(null), [id, attempt]);
  useEffect(() => {
    if (!read) return undefined;
    const stop = new AbortController();
    refuse(null);
    end(false);
    tail(id, stop.signal, show).then(() => end(true), error => stop.signal.aborted || refuse(error));
    return () => stop.abort();
  }, [id, attempt, read]);
  useLayoutEffect(() => {
    if (pinned.current && place.current) place.current.scrollTop = place.current.scrollHeight;
  }, [text]);
  const scrolled = ({ currentTarget: log }) => {
    pinned.current = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  };
  if (problem) return html`<${Refusal} problem=${problem} />`;
  if (!text && over) return html`<${Empty}>Nothing was written.<//>`;
  return html`<pre class="code log" role="log" aria-label="Output" tabindex="0" ref=${place} onScroll=${scrolled}>${text || 'Nothing is written yet.'}</pre>
    <p class="quiet">${over ? 'It writes no more.' : 'Follows while the attempt runs.'}</p>`;
}

async function tail(id, signal, show) {
  const response = await open(`/v1/records/${id}/logs?follow=true`, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let timer = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text = (text + value).slice(-KEPT);
    timer ??= setTimeout(() => {
      timer = null;
      show(text);
    }, SHOW_EVERY);
  }
  clearTimeout(timer);
  show(text);
}
