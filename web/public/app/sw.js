// The phone app without network: its page and what the page needs are kept, and nothing else. What the hub
// says of devices is never kept here; the page keeps the last known list itself.
const SHELL = 'motehub-app-1';
const PAGE = '/app/';

/** The page, and every file of ours that it names. */
async function keep(page) {
  const cache = await caches.open(SHELL);
  const text = await page.clone().text();
  const named = [...text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((found) => found[1]);
  const known = new Set((await cache.keys()).map((request) => new URL(request.url).pathname));
  await cache.addAll(named.filter((path) => !known.has(path)));
  await cache.put(PAGE, page);
  for (const path of known) if (path !== PAGE && !named.includes(path)) await cache.delete(path);
}

self.addEventListener('install', (event) => {
  event.waitUntil(
    fetch(PAGE, { cache: 'no-cache' })
      .then(keep)
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener('activate', (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== 'GET' || origin !== location.origin || pathname.startsWith('/api/')) return;
  if (request.mode === 'navigate') {
    event.respondWith(
      fetch(request)
        .then((page) => {
          if (page.ok) event.waitUntil(keep(page.clone()).catch(() => undefined));
          return page;
        })
        .catch(() => caches.match(PAGE)),
    );
    return;
  }
  event.respondWith(caches.match(request, { ignoreSearch: true }).then((kept) => kept ?? fetch(request)));
});
