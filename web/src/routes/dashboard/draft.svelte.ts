//! A dashboard while it is built: the document with its past, what is selected, what is not saved.
import { cellOf, laidOut, type Block, type Document, type Kind } from '../../lib/domain/dashboard';
import * as dash from '../../lib/domain/dashboard';
import { arrange, nudged, shifted, type Cell } from '../../lib/domain/grid';
import { begin, next, redo, undo } from '../../lib/domain/past';

type State = { document: Document; shared: boolean };
export type Draft = ReturnType<typeof draftOf>;

export function draftOf(document: Document, isShared: boolean) {
  const opened: State = { document: laidOut(document), shared: isShared };
  let past = $state.raw(begin(opened));
  let saved = $state.raw(opened);
  let selectedId = $state<string | null>(null);
  /** Where blocks are shown while one is dragged. */
  let moving = $state.raw<Cell[] | null>(null);
  const now = $derived(past.now);
  const selected = $derived<Block | null>(
    now.document.blocks.find((block) => block.id === selectedId) ?? null,
  );

  const cells = (): Cell[] => past.now.document.blocks.map(cellOf);

  function change(document: Document, key: string | null = null): void {
    const laid = laidOut(document);
    if (laid !== past.now.document) past = next(past, { ...past.now, document: laid }, key);
  }

  function place(placed: Cell[], key: string | null = null): void {
    change(dash.withCells(past.now.document, placed), key);
  }

  return {
    get document() {
      return now.document;
    },
    get shared() {
      return now.shared;
    },
    get selected() {
      return selected;
    },
    get cells() {
      return moving ?? undefined;
    },
    get isMoving() {
      return moving !== null;
    },
    get isChanged() {
      return now !== saved;
    },
    get canUndo() {
      return past.before.length > 0;
    },
    get canRedo() {
      return past.after.length > 0;
    },
    get isFull() {
      return now.document.blocks.length >= dash.BLOCKS_MAX;
    },
    select: (id: string | null) => void (selectedId = id),
    undo: () => void (past = undo(past)),
    redo: () => void (past = redo(past)),
    /** What was saved; it can still be undone. */
    keep: (kept: State) => void (saved = kept),
    state: () => past.now,
    add: (kind: Kind) => {
      const made = dash.add(past.now.document, kind);
      change(made.document);
      selectedId = made.id;
      return made.id;
    },
    copy: (id: string) => {
      const made = dash.copy(past.now.document, id);
      if (made === null) return null;
      change(made.document);
      selectedId = made.id;
      return made.id;
    },
    remove: (id: string) => {
      change(dash.remove(past.now.document, id));
      if (selectedId === id) selectedId = null;
    },
    /** Sets members of a block. `field`: which, so that what is typed in it is undone at once. */
    set: (id: string, changes: Record<string, unknown>, field: string) =>
      change(dash.set(past.now.document, id, changes), `${id}.${field}`),
    describe: (changes: { name?: string; description?: string }) =>
      change({ ...past.now.document, ...changes }, Object.keys(changes).join()),
    share: (shared: boolean) => void (past = next(past, { ...past.now, shared })),
    nudge: (id: string, right: number, down: number) =>
      place(nudged(cells(), id, right, down), `nudge ${id}`),
    shift: (id: string, by: -1 | 1) => place(shifted(cells(), id, by)),
    resize: (id: string, wider: number, higher: number) => {
      const cell = cells().find((one) => one.id === id);
      if (cell === undefined) return;
      const wanted = { ...cell, w: Math.max(1, Math.min(cell.w + wider, 12 - cell.x)), h: cell.h + higher };
      place(arrange(cells(), wanted), `size ${id}`);
    },
    /** Shows where all would be if one were there. */
    drag: (wanted: Cell) => void (moving = arrange(cells(), wanted)),
    drop: () => {
      const dropped = moving;
      moving = null;
      if (dropped !== null) place(dropped);
    },
    cancel: () => void (moving = null),
  };
}
