//! What somebody has just wished by a block: shown at once, until the hub tells what is wanted now, or refused it.

export type Wish = {
  /** Undefined when nothing was wished since the hub said something. */
  readonly value: unknown;
  make: (value: unknown) => void;
};

/** `told` is what the hub says: when it changes, the wish is in it. Must be called while a component is set up. */
export function wishOf(told: () => unknown, act: (value: unknown) => Promise<boolean> | undefined): Wish {
  let value = $state.raw<unknown>(undefined);

  $effect(() => {
    told();
    value = undefined;
  });

  return {
    get value() {
      return value;
    },
    make: (next) => {
      value = next;
      void act(next)?.then((worked) => {
        if (!worked) value = undefined;
      });
    },
  };
}
