//! A small router on the history API. Links are plain `<a href>`; a click on one of ours changes the page
//! in place.

export type Place = { path: string; params: URLSearchParams; hash: string };

let place = $state.raw<Place>(read());
let guard: (() => boolean) | null = null;

function read(): Place {
  return {
    path: location.pathname.replace(/\/+$/, '') || '/',
    params: new URLSearchParams(location.search),
    hash: location.hash,
  };
}

export function here(): Place {
  return place;
}

/**
 * Goes to an address of ours. `replace` leaves no trace in the history, as for a filter that is being
 * typed.
 */
export function go(address: string, options: { replace?: boolean } = {}): void {
  const samePath = new URL(address, location.href).pathname === location.pathname;
  if (!samePath && guard !== null && !guard()) return;
  if (options.replace) history.replaceState(null, '', address);
  else history.pushState(null, '', address);
  place = read();
  if (!samePath) scrollTo(0, 0);
}

/** Writes the parameters of the present page into its address. */
export function setParams(params: URLSearchParams, options: { replace?: boolean } = { replace: true }): void {
  const text = params.toString();
  go(place.path + (text === '' ? '' : `?${text}`), options);
}

/** Asked before the page is left; answers whether it may be. Returns a function that lifts the guard. */
export function guardLeaving(mayLeave: () => boolean): () => void {
  guard = mayLeave;
  return () => {
    if (guard === mayLeave) guard = null;
  };
}

function follow(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.('a[href]');
  if (!(link instanceof HTMLAnchorElement) || link.target !== '' || link.hasAttribute('download')) return;
  const target = new URL(link.href);
  if (target.origin !== location.origin || target.pathname.startsWith('/api/')) return;
  if (target.hash !== '' && target.pathname === location.pathname) return;
  event.preventDefault();
  go(target.pathname + target.search + target.hash);
}

export function startRouter(): void {
  document.addEventListener('click', follow);
  addEventListener('popstate', () => (place = read()));
}

/** «/devices/:id» against «/devices/abc» → { id: 'abc' }, or null. */
export function match(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return null;
  const found: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const value = given[index] ?? '';
    if (part.startsWith(':')) found[part.slice(1)] = decodeURIComponent(value);
    else if (part !== value) return null;
  }
  return found;
}
