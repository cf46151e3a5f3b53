//! The present moment for everything on the page that says «3 min ago». One timer for all of them.

const TICK_MS = 5000;
let now = $state(Date.now());
setInterval(() => (now = Date.now()), TICK_MS);

export function currentTime(): number {
  return now;
}
