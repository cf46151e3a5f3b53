//! What was asked of a hub and is not over yet: commands and deployments. The live link says when to look again.
'use strict';

/** How many may be under way at once, so that what is asked for without end does not fill the memory. */
const PENDING_MAX = 1000;

/**
 * `look(id, entry)` asks the hub how it is, says what is new, and resolves to whether it is over. `kinds` are the
 * changes that tell of news. The listener is for the live link.
 */
function createPending(kinds, look) {
  const entries = new Map();

  /** At most one look at a time, and one more if something happened meanwhile. */
  async function news(id) {
    const entry = entries.get(id);
    if (entry === undefined) return;
    if (entry.isLooking) {
      entry.isAgain = true;
      return;
    }
    entry.isLooking = true;
    try {
      do {
        entry.isAgain = false;
        if (await look(id, entry)) finish(id, entry);
      } while (entry.isAgain && entries.get(id) === entry);
    } catch (error) {
      // The hub refuses: it knows nothing of it any more. A link that is lost looks again when it is back.
      if (error.status !== undefined) finish(id, entry, error);
    } finally {
      entry.isLooking = false;
    }
  }

  function finish(id, entry, error) {
    if (entries.delete(id)) entry.done(error?.message);
  }

  return {
    /** Throws if too many are under way. */
    mayAdd() {
      if (entries.size >= PENDING_MAX) throw new Error(`${PENDING_MAX} are under way already`);
    },
    add(id, entry) {
      entries.set(id, entry);
      return news(id);
    },
    count: () => entries.size,
    listener: {
      changes(changes) {
        const ids = changes.filter((change) => kinds.includes(change.kind)).map((change) => change.subject);
        for (const id of new Set(ids)) news(id);
      },
      load() {
        for (const id of entries.keys()) news(id);
      },
    },
    clear() {
      for (const entry of entries.values()) entry.done();
      entries.clear();
    },
  };
}

module.exports = { createPending };
