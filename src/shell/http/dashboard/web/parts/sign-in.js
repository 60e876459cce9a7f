// Asks for a token when the API wants one.

import { html, useEffect, useRef } from '../lib.js';
import { signIn } from '../store.js';
import { Icon } from './icon.js';

export function SignIn({ refused }) {
  const field = useRef(null);
  useEffect(() => field.current?.focus(), []);
  const submit = event => {
    event.preventDefault();
    signIn(field.current.value.trim());
  };
  return html`<main class="sign-in" id="main"><form onSubmit=${submit}>
    <h1><${Icon} name="brand" /> dwell</h1>
    <p>This server wants a token. <code>dwell token add</code> makes one; with the scope <code>read</code> it looks,
      with <code>operate</code> it acts.</p>
    <label for="token">Token</label>
    <input id="token" type="password" autocomplete="off" spellcheck="false" required ref=${field}
      aria-describedby=${refused ? 'token-refused' : undefined} />
    ${refused && html`<p class="refusal" role="alert" id="token-refused">${refused}</p>`}
    <button class="primary">Sign in</button>
    <p class="quiet">It is kept in this tab only, until the tab is closed.</p>
  </form></main>`;
}
