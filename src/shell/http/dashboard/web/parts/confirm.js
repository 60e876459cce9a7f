// Asks before something is changed, carries it out, and shows a refusal in the server's words without closing.

import { html, useLayoutEffect, useRef, useState } from '../lib.js';
import { humane, moment } from '../format.js';

/**
 * `ask`: `{title, text, action, danger, fields, run}`; `run(values)` may throw a refusal. `fields` are inputs to fill in
 * first: `{name, label, placeholder, hint, type}`. `done(answer)` is called when it is over, without an answer if nothing was done.
 */
export function Confirm({ ask, done }) {
  const dialog = useRef(null);
  const [refused, refuse] = useState(null);
  const [busy, work] = useState(false);
  // Closed before it goes, so that the focus returns to where it was opened from.
  const close = answer => {
    dialog.current.close();
    done(answer);
  };
  useLayoutEffect(() => dialog.current.showModal(), []);
  const submit = async event => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.currentTarget));
    work(true);
    try {
      close(await ask.run(values) ?? {});
    } catch (problem) {
      refuse(problem);
      work(false);
    }
  };
  return html`<dialog ref=${dialog} aria-labelledby="ask-title" onCancel=${() => close()}>
    <form onSubmit=${submit}>
      <h2 id="ask-title">${ask.title}</h2>
      ${ask.text && html`<p>${ask.text}</p>`}
      ${(ask.fields ?? []).map(field => html`<${Field} ...${field} key=${field.name} />`)}
      ${refused && html`<${Refused} problem=${refused} />`}
      <div class="actions">
        <button type="button" onClick=${() => close()}>${refused ? 'Close' : 'Keep as it is'}</button>
        <button class=${ask.danger ? 'danger' : 'primary'} disabled=${busy}>${ask.action}</button>
      </div>
    </form>
  </dialog>`;
}

function Field({ name, label, placeholder, hint, type = 'text' }) {
  if (type === 'checkbox') {
    return html`<label class="check"><input type="checkbox" name=${name} value="yes" /> ${label}</label>`;
  }
  return html`<label>${label}
    <input type=${type} name=${name} placeholder=${placeholder} autocomplete="off" />
    ${hint && html`<small>${hint}</small>`}</label>`;
}

/** What kept it from being done: the sentence, and what it lists. */
function Refused({ problem }) {
  const { missing = [], early = [] } = problem.problem ?? {};
  return html`<div class="refusal" role="alert">
    <p>${humane(problem.message)}</p>
    ${missing.length > 0 && html`<ul>${missing.map(one => html`<li><b>${one.flow}</b> needs ${one.need}: ${one.why}</li>`)}</ul>`}
    ${early.length > 0 && html`<ul>${early.map(one => html`<li><b>${one.flow}</b>${one.earliest ? ` at the earliest ${moment(one.earliest)}` : ' is not in shadow'}</li>`)}</ul>`}
  </div>`;
}

/** The dialog that is open, and how to open one. */
export function useConfirm() {
  const [ask, set] = useState(null);
  const open = asked => set({ ...asked });
  const done = after => answer => {
    set(null);
    if (answer) after?.(answer);
  };
  return [ask && html`<${Confirm} ask=${ask} done=${done(ask.then)} />`, open];
}
