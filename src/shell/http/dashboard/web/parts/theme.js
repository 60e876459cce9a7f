// Dark, light, or as the system has it; the choice stays in this browser.

const KEPT = 'dwell-theme';
const ORDER = ['system', 'light', 'dark'];

export const theme = () => (ORDER.includes(localStorage.getItem(KEPT)) ? localStorage.getItem(KEPT) : 'system');
export const nextTheme = of => ORDER[(ORDER.indexOf(of) + 1) % ORDER.length];

export function applyTheme(chosen) {
  localStorage.setItem(KEPT, chosen);
  document.documentElement.dataset.theme = chosen;
  dispatchEvent(new Event('themechange'));
}

/** The value of a colour of the style sheets as it is now, for canvases. */
export function colourOf(variable) {
  const probe = document.createElement('i');
  probe.style.color = variable;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
