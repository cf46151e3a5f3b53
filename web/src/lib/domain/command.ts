//! Commands as people see them: states in their order, their tone, and values as short text.
import type { Execution, ExecutionState } from '../api/contract';
import type { Tone } from './state';

export const EXECUTION_STATES: ExecutionState[] = ['Done', 'Sent', 'Queued', 'Expired', 'Failed'];

const TONE: Record<ExecutionState, Tone> = {
  Queued: 'idle',
  Sent: 'info',
  Done: 'ok',
  Failed: 'bad',
  Expired: 'warn',
};
const SENTENCE: Record<ExecutionState, string> = {
  Queued: 'The device is away; it is told when it comes back.',
  Sent: 'The device was told; its answer is awaited.',
  Done: 'The device did it.',
  Failed: 'The device could not do it.',
  Expired: 'No answer came in time, or it was cancelled.',
};

export function toneOfExecution(state: ExecutionState): Tone {
  return TONE[state] ?? 'idle';
}

export function sentenceOfExecution(state: ExecutionState): string {
  return SENTENCE[state] ?? '';
}

export function isOpen(state: ExecutionState): boolean {
  return state === 'Queued' || state === 'Sent';
}

/** Any JSON as one line: texts without quotes, nothing for null. */
export function lineOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** What the device answered, or why it did not. */
export function answerOf(execution: Pick<Execution, 'result' | 'reason'>): string {
  return [lineOf(execution.result), execution.reason ?? ''].filter((part) => part !== '').join(' · ');
}

/** The arguments a person typed: empty is none; the error says what is wrong. */
export function argsOf(text: string): { args: unknown } | { error: string } {
  if (text.trim() === '') return { args: null };
  try {
    return { args: JSON.parse(text) as unknown };
  } catch (error) {
    return { error: `This is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
}
