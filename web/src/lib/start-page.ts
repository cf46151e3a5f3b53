//! Which page this browser begins with. The choice stays in this browser, as the theme does.

const KEY = 'motehub.start';

/** The dashboard to begin with; null is the overview. */
export function startPage(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function setStartPage(dashboard: string | null): void {
  try {
    if (dashboard === null) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, dashboard);
  } catch {
    // Storage is switched off: there is no place to keep it.
  }
}
