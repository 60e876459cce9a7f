// The server's time. Countdowns go by it and never by the browser's clock; under `--test-clock` it stands still.

let base = Date.now();
let at = performance.now();
let runs = true;
let told = null;

/** What the server said its time is, and when it was asked and answered on the browser's steady clock. */
export function tell(text, asked, answered) {
  const server = Date.parse(text);
  const middle = (asked + answered) / 2;
  if (told) {
    const [moved, elapsed] = [server - told.server, middle - told.middle];
    if (elapsed > 100) runs = moved > 0 && moved < elapsed * 3 + 500;
  }
  told = { server, middle };
  base = server;
  at = middle;
}

/** Something happened at this time: it is not earlier than that. */
export function saw(text) {
  const server = Date.parse(text);
  if (server > now()) {
    base = server;
    at = performance.now();
  }
}

export const now = () => base + (runs ? performance.now() - at : 0);
