//! Light, dark, or what the system says. The choice stays in this browser.

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'motehub.theme';

let theme = $state<Theme>(read());

function read(): Theme {
  const known = document.documentElement.dataset.theme;
  return known === 'light' || known === 'dark' ? known : 'system';
}

export function isDark(): boolean {
  return theme === 'dark' || (theme === 'system' && matchMedia('(prefers-color-scheme: dark)').matches);
}

/** Changes to the other one; back to what the system says when that is the same. */
export function toggleTheme(): void {
  const wanted = isDark() ? 'light' : 'dark';
  const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  theme = wanted === system ? 'system' : wanted;
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Storage is switched off: the choice holds until the page is closed.
  }
}
