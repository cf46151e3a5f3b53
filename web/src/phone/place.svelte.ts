//! Where the app is: what stands behind `#` in the address, so that every place opens from the one page that is
//! kept for times without network.

let place = $state(read());

function read(): string[] {
  return location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
}

/** `['device', id, 'share']` for `#/device/…/share`. */
export function here(): string[] {
  return place;
}

export function go(...parts: string[]): void {
  location.hash = `#/${parts.map(encodeURIComponent).join('/')}`;
}

/** Takes the code out of a link such as `/app/#code=…`, and out of the address bar. */
export function codeFromLink(): string {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1] ?? '';
  if (code !== '') history.replaceState(null, '', location.pathname);
  return decodeURIComponent(code);
}

addEventListener('hashchange', () => {
  if (location.hash.startsWith('#code=')) location.reload();
  place = read();
  scrollTo(0, 0);
});
