// The keyboard on the board: arrows from card to card and across columns, Home and End, `/` to the search.

import { CARD } from './column.js';

const frame = () => new Promise(done => requestAnimationFrame(done));

/** Handles a key that was pressed on the board. */
export function moveFocus(event, board) {
  const card = event.target.closest?.('.card');
  const moves = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!card) return;
  if (event.key in moves) {
    event.preventDefault();
    focusAt(card.closest('.column'), Number(card.dataset.at) + moves[event.key]);
  } else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
    event.preventDefault();
    const columns = [...board.querySelectorAll('.column:not(.bare)')];
    const next = columns[columns.indexOf(card.closest('.column')) + (event.key === 'ArrowRight' ? 1 : -1)];
    if (next) focusAt(next, Number(next.querySelector('.card')?.dataset.at ?? 0));
  }
}

async function focusAt(column, wanted) {
  const list = column.querySelector('.cards');
  const length = Math.round(list.firstElementChild.offsetHeight / CARD);
  const at = Math.min(length - 1, Math.max(0, wanted));
  const [top, bottom] = [at * CARD, (at + 1) * CARD];
  if (top < list.scrollTop) list.scrollTop = top;
  if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  // What was scrolled to is rendered in one of the next frames.
  for (let tries = 0; tries < 10; tries += 1) {
    const card = column.querySelector(`.card[data-at="${at}"]`);
    if (card) {
      card.focus({ preventScroll: true });
      column.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      return;
    }
    await frame();
  }
}

addEventListener('keydown', event => {
  if (event.key !== '/' || event.target.closest?.('input, textarea, select, dialog')) return;
  const search = document.getElementById('search');
  if (search) {
    event.preventDefault();
    search.focus();
  }
});
