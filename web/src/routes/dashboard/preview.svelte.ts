//! What the blocks of a draft show before they are saved: the hub is asked a moment after each change, and from time to
//! time.
import { dashboards } from '../../lib/api/dashboards';
import { asProblem } from '../../lib/api/client';
import type { BlockData, Problem } from '../../lib/api/contract';
import type { Source } from '../../lib/blocks/source.svelte';
import { missingOf, type Block, type Document } from '../../lib/domain/dashboard';

const REST_MS = 400;
const REFRESH_MS = 3000;
const UNSAVED: Problem = {
  title: '',
  status: 0,
  code: 'unsaved',
  detail: 'What was measured is shown once this is saved.',
};

/** Must be called while a component is set up. `saved` is what the hub has. */
export function previewOf(source: () => Source, draft: () => Document, saved: () => Document): Source {
  let shown = $state.raw<Record<string, BlockData>>({});
  let problem = $state.raw<Problem | undefined>(undefined);

  $effect(() => {
    // What is half set would be refused with all the rest.
    const whole = { ...draft(), blocks: draft().blocks.filter((block) => missingOf(block) === null) };
    const own = new AbortController();
    let timer = setTimeout(ask, REST_MS);
    function ask(): void {
      dashboards.preview(whole, own.signal).then(
        ({ blocks }) => {
          shown = blocks;
          problem = undefined;
          timer = setTimeout(ask, REFRESH_MS);
        },
        (error: unknown) => {
          const found = asProblem(error);
          if (found.code === 'aborted') return;
          problem = found;
          if (found.status === 0 || found.status >= 500) timer = setTimeout(ask, REFRESH_MS);
        },
      );
    }
    return () => {
      clearTimeout(timer);
      own.abort();
    };
  });

  function isSaved(id: string): boolean {
    const kept = (document: Document): Block | undefined => document.blocks.find((block) => block.id === id);
    const [ours, theirs] = [kept(draft()), kept(saved())];
    return ours !== undefined && theirs !== undefined && contentOf(ours) === contentOf(theirs);
  }

  return {
    get blocks() {
      return shown;
    },
    get isLive() {
      return source().isLive;
    },
    get lateSince() {
      return source().lateSince;
    },
    get problem() {
      return problem;
    },
    isPublic: false,
    deeds: null,
    history: (block, query, signal) =>
      isSaved(block) ? source().history(block, query, signal) : Promise.reject(UNSAVED),
    points: (block, listener) => source().points(block, listener),
    reload: () => source().reload(),
  };
}

/** Everything but where it stands and what it is called. */
function contentOf(block: Block): string {
  const { x: _x, y: _y, w: _w, h: _h, title: _title, ...content } = block;
  return JSON.stringify(content);
}
