// The JSON API: one place for the token, one shape for refusals. Absent on purpose: what is done with the answers.

const TOKEN = 'dwell-token';
let onUnauthorized = () => {};
/** Why nothing is asked until there is another token: a page that goes on asking looks like one that guesses. */
let locked = null;

export const token = () => sessionStorage.getItem(TOKEN);
export function keepToken(text) {
  locked = null;
  sessionStorage.setItem(TOKEN, text);
}
/** Forgets the token; nothing is asked until there is another. */
export function dropToken() {
  sessionStorage.removeItem(TOKEN);
  locked = new Refused(401, { detail: 'signed out' });
}
export const whenUnauthorized = told => { onUnauthorized = told; };

/** A refusal: `message` in the server's own words, `problem` the whole document (RFC 9457). */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {}

/** A response whose status is good; the event stream and logs read its body themselves. */
export async function open(path, options = {}) {
  if (locked) throw locked;
  const [headers, shown] = [{ ...options.headers }, token()];
  if (shown) headers.Authorization = `Bearer ${shown}`;
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable('the server does not answer');
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const refused = new Refused(response.status, problem);
  if (response.status === 401 && shown === token()) {
    locked = refused;
    onUnauthorized(problem.detail);
  }
  throw refused;
}

export const get = async (path, signal) => (await open(path, { signal })).json();

/** A call that changes something, named so that a repeated one counts once. */
export async function send(method, path, body) {
  const headers = { 'Idempotency-Key': key(), 'Content-Type': 'application/json' };
  const sent = method === 'DELETE' ? undefined : JSON.stringify(body ?? {});
  const response = await open(path, { method, headers, body: sent });
  return response.json();
}

/** `{a: 1, b: undefined}` as `?a=1`. */
export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return given.length ? `?${new URLSearchParams(given)}` : '';
}

function key() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `ui-${Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')}`;
}
