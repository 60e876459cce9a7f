// Asks for a token when the API wants one.

import { html, useEffect, useRef, useState } from '../lib.js';
import { signIn } from '../store.js';
import { Icon } from './icon.js';

export function SignIn({ refused }) {
  const field = useRef(null);
  const [busy, work] = useState(false);
  useEffect(() => field.current?.focus(), []);
  const submit = async event => {
    event.preventDefault();
    work(true);
    await signIn(field.current.value.trim());
    work(false);
    field.current?.select();
  };
  return html`<main class="sign-in" id="main"><form onSubmit=${submit}>
    <h1><${Icon} name="brand" /> dwell</h1>
    <p>This server asks for a token. <code>dwell token add</code> makes one: with <code>--scope read</code> to look,
      with <code>operate</code> to act, with <code>admin</code> to change modes.</p>
    <label for="token">Token</label>
    <input id="token" type="password" autocomplete="off" spellcheck="false" required ref=${field}
      aria-invalid=${refused ? 'true' : undefined} aria-describedby=${refused ? 'token-refused' : undefined} />
    ${refused && html`<p class="refusal" role="alert" id="token-refused">${refused}</p>`}
    <button class="primary" disabled=${busy}>Sign in</button>
    <p class="quiet">It stays in this tab, until you sign out or close it.</p>
  </form></main>`;
}
