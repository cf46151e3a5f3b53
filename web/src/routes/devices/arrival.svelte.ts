//! A file on its way in: it is looked at first, and taken once somebody has seen what it says.
import { asProblem } from '../../lib/api/client';
import type { Problem } from '../../lib/api/contract';

const MIB = 1024 * 1024;

type Ways<Report> = {
  preview: (file: Blob) => Promise<Report>;
  take: (file: Blob, skipWrong: boolean) => Promise<Report>;
  mebibytesMax: number;
  /** What is said of a file of so many mebibytes, which is too large. */
  tooLarge: (mebibytes: number) => string;
};

export class Arrival<Report> {
  /** What would come of the file. */
  preview = $state.raw<Report | null>(null);
  /** What came of it. */
  done = $state.raw<Report | null>(null);
  /** Whether what is wrong is left out. */
  skip = $state(false);
  busy = $state(false);
  problem = $state.raw<Problem | null>(null);
  #file: Blob | null = null;
  readonly #ways: () => Ways<Report>;

  constructor(ways: () => Ways<Report>) {
    this.#ways = ways;
  }

  async choose(event: Event & { currentTarget: HTMLInputElement }): Promise<void> {
    const file = event.currentTarget.files?.[0];
    if (file !== undefined) await this.look(file);
  }

  async look(file: Blob): Promise<void> {
    const { preview, mebibytesMax, tooLarge } = this.#ways();
    if (file.size > mebibytesMax * MIB) {
      const detail = tooLarge(Math.ceil(file.size / MIB));
      this.problem = { title: 'Too large', status: 413, code: 'too_large', detail };
      return;
    }
    await this.#attempt(async () => {
      this.preview = await preview(file);
      this.#file = file;
    });
  }

  async take(): Promise<void> {
    const file = this.#file;
    if (file === null) return;
    await this.#attempt(async () => {
      this.done = await this.#ways().take(file, this.skip);
    });
  }

  /** Another file. */
  again(): void {
    this.preview = null;
    this.#file = null;
    this.problem = null;
  }

  async #attempt(deed: () => Promise<void>): Promise<void> {
    this.busy = true;
    this.problem = null;
    try {
      await deed();
    } catch (thrown) {
      this.problem = asProblem(thrown);
    }
    this.busy = false;
  }
}
