// What views are woken by: the store, the seconds, an address that is read again and again, the part of the address after `#`.

import { useEffect, useReducer, useRef, useState } from './lib.js';
import { get } from './api.js';
import { listen, view } from './store.js';

const useWake = () => useReducer(n => n + 1, 0)[1];

/** Renders again when anything that is known changed. */
export function useStore() {
  const wake = useWake();
  useEffect(() => listen(wake), []);
  return view;
}

const ticking = new Set();
setInterval(() => ticking.forEach(tick => tick()), 250);

/** Calls four times a second, as long as it is shown. */
export function useTick(tick) {
  const latest = useRef(tick);
  latest.current = tick;
  useEffect(() => {
    const call = () => latest.current();
    ticking.add(call);
    return () => ticking.delete(call);
  }, []);
}

/** Reads an address now, every so often, and when `reload` is called. The last good answer stays while it fails. */
export function useResource(path, every = 3_000) {
  const [state, set] = useState({ path: null, value: null, problem: null });
  const reload = useRef(() => {});
  useEffect(() => {
    if (!path) return undefined;
    let [alive, busy] = [true, false];
    const read = async () => {
      if (busy || document.hidden) return;
      busy = true;
      try {
        const value = await get(path);
        if (alive) set({ path, value, problem: null });
      } catch (problem) {
        if (alive) set(seen => ({ path, value: seen.path === path ? seen.value : null, problem }));
      }
      busy = false;
    };
    reload.current = read;
    read();
    const timer = setInterval(read, every);
    document.addEventListener('visibilitychange', read);
    return () => {
      alive = false;
      clearInterval(timer);
      document.removeEventListener('visibilitychange', read);
    };
  }, [path, every]);
  const current = state.path === path ? state : { value: null, problem: null };
  return { ...current, reload: () => reload.current() };
}

/** Whether the tab is looked at. */
export function useVisible() {
  const [visible, set] = useState(!document.hidden);
  useEffect(() => {
    const turned = () => set(!document.hidden);
    document.addEventListener('visibilitychange', turned);
    return () => document.removeEventListener('visibilitychange', turned);
  }, []);
  return visible;
}

/** `['record', 'ses_…']` of `#/record/ses_…`. */
export function useRoute() {
  const read = () => location.hash.replace(/^#\/?/, '').split('?')[0].split('/').map(decodeURIComponent);
  const [route, set] = useState(read);
  useEffect(() => {
    const moved = () => set(read());
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  return route[0] ? route : ['overview'];
}
