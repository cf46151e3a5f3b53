//! Something a page loads and then follows: it loads again when what `load` reads has changed, when a change concerns it,
//! and when the live link missed some.
import type { Change } from './api/contract';
import { listenLive } from './live';
import { resource, type Resource } from './resource.svelte';

/** Must be called while a component is set up: it stops with the component. */
export function following<T>(
  load: (signal: AbortSignal) => Promise<T>,
  concerns: (change: Change) => boolean,
  interval_ms?: number,
): Resource<T> {
  const followed = resource(load);
  $effect(() => void followed.reload());
  $effect(() =>
    listenLive({
      changes: (changes) => {
        if (changes.some(concerns)) followed.reloadSoon(interval_ms);
      },
      resync: () => void followed.reload(),
    }),
  );
  return followed;
}
