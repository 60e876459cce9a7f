// The page: which view is shown, in the shell around it.

import { html, render, useEffect, useRef } from './lib.js';
import { useRoute, useStore } from './hooks.js';
import { start } from './store.js';
import { Shell } from './parts/shell.js';
import { SignIn } from './parts/sign-in.js';
import { Overview } from './views/overview.js';
import { Board } from './views/board.js';
import { RecordView } from './views/record.js';
import { Runtimes } from './views/runtimes.js';
import { Queues } from './views/queues.js';
import { Flows } from './views/flows.js';
import { Dead } from './views/dead.js';

const VIEWS = {
  overview: [Overview, 'Overview'],
  board: [Board, 'Board'],
  record: [RecordView, 'Record'],
  runtimes: [Runtimes, 'Runtimes'],
  queues: [Queues, 'Queues'],
  flows: [Flows, 'Flows'],
  dead: [Dead, 'Dead letters'],
};

function App() {
  const [name, ...rest] = useRoute();
  const { needsToken, refused } = useStore();
  const [View, title] = VIEWS[name] ?? VIEWS.overview;
  const main = useRef(null);
  const shown = useRef(null);
  useEffect(() => {
    document.title = `${title} · dwell`;
    // Who came by the keyboard or a screen reader goes on in the view that opened, not at the top of the page.
    if (shown.current !== null) main.current?.focus();
    shown.current = name;
  }, [name, rest[0]]);
  if (needsToken) return html`<${SignIn} refused=${refused} />`;
  return html`<${Shell} current=${name}>
    <main id="main" tabindex="-1" ref=${main}><${View} key=${rest.join('/')} parts=${rest} /></main>
  <//>`;
}

const app = document.getElementById('app');
app.replaceChildren();
render(html`<${App} />`, app);
start();
