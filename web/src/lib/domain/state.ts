//! States and their tone: which are good, moving, bad or at rest, in which order they are shown, what they
//! are called.
import type { Counts, DeploymentState, Device, TaskState } from '../api/contract';

export type Tone = 'ok' | 'warn' | 'bad' | 'info' | 'idle';
export type Step = { state: TaskState; reached: boolean; current: boolean };

export const TASK_STATES: TaskState[] = [
  'Done',
  'Confirming',
  'Applying',
  'Fetching',
  'Offered',
  'Waiting',
  'RolledBack',
  'Cancelled',
  'Reverted',
  'TimedOut',
  'Failed',
];
export const STEPS: TaskState[] = ['Waiting', 'Offered', 'Fetching', 'Applying', 'Done'];
export const FIRMWARE_STEPS: TaskState[] = [
  'Waiting',
  'Offered',
  'Fetching',
  'Applying',
  'Confirming',
  'Done',
];
export const DEPLOYMENT_STATES: DeploymentState[] = ['Running', 'Done', 'Failed', 'Cancelled', 'RolledBack'];

const TASK_TONE: Record<TaskState, Tone> = {
  Waiting: 'idle',
  Offered: 'info',
  Fetching: 'info',
  Applying: 'info',
  Confirming: 'info',
  Done: 'ok',
  Failed: 'bad',
  TimedOut: 'bad',
  Reverted: 'bad',
  RolledBack: 'warn',
  Cancelled: 'idle',
};

const TASK_SENTENCE: Record<TaskState, string> = {
  Waiting: 'The device has not been told yet; it will be when it is online.',
  Offered: 'The device was told that there is something new.',
  Fetching: 'The device is taking it.',
  Applying: 'The device has it and must now run it.',
  Confirming: 'The device runs the new firmware and must now stay with it for the health window.',
  Done: 'The device ran it for the whole health window.',
  Failed: 'The device did not run it well.',
  TimedOut: 'The device went silent.',
  Reverted: 'The device tried the firmware and went back by itself to the former one.',
  RolledBack: 'What ran before was put back.',
  Cancelled: 'Cancelled before the device took it.',
};

const WORDS: Partial<Record<string, string>> = { TimedOut: 'Timed out', RolledBack: 'Rolled back' };

export function toneOfTask(state: TaskState): Tone {
  return TASK_TONE[state] ?? 'idle';
}

export function sentenceOfTask(state: TaskState): string {
  return TASK_SENTENCE[state] ?? '';
}

/** «TimedOut» → «Timed out». */
export function wordOf(state: string): string {
  return WORDS[state] ?? state;
}

export function toneOfDeployment(state: DeploymentState): Tone {
  if (state === 'Done') return 'ok';
  if (state === 'Failed') return 'bad';
  if (state === 'RolledBack') return 'warn';
  return state === 'Running' ? 'info' : 'idle';
}

export function isMoving(state: TaskState): boolean {
  return FIRMWARE_STEPS.includes(state) && state !== 'Done';
}

/** May a task be tried again? */
export function isRetryable(state: TaskState): boolean {
  return ['Failed', 'TimedOut', 'Reverted', 'Cancelled', 'RolledBack'].includes(state);
}

/** One word for a device in a list: what a person should look at first wins. */
export function badgeOfDevice(device: Pick<Device, 'state'> & Partial<Pick<Device, 'line'>>): {
  tone: Tone;
  text: string;
} {
  if (device.state === 'failing') return { tone: 'bad', text: 'Failing' };
  if (device.state === 'pending') return { tone: 'warn', text: 'Pending' };
  if (device.state === 'waiting_for_script' && !device.line) return { tone: 'idle', text: 'No script yet' };
  return { tone: 'ok', text: 'OK' };
}

/**
 * The way of a task as steps, with the one it is at. A task that ended badly stands after the last step it
 * reached.
 */
export function stepsOf(state: TaskState, steps: TaskState[] = STEPS): Step[] {
  const at = steps.indexOf(state);
  return steps.map((step, index) => ({
    state: step,
    reached: at >= 0 && index <= at,
    current: index === at,
  }));
}

export type Share = { state: TaskState; count: number; percent: number; tone: Tone };

/** The parts of a progress bar, in a fixed order, without empty ones. */
export function sharesOf(counts: Partial<Counts>): Share[] {
  const total = Object.values(counts).reduce((sum, count) => sum + (count ?? 0), 0);
  if (total === 0) return [];
  return TASK_STATES.map((state) => ({
    state,
    count: counts[state] ?? 0,
    percent: ((counts[state] ?? 0) / total) * 100,
    tone: toneOfTask(state),
  })).filter((share) => share.count > 0);
}

/** How many tasks have come to an end, whatever the end. */
export function endedOf(counts: Partial<Counts>): number {
  return TASK_STATES.filter((state) => !isMoving(state)).reduce(
    (sum, state) => sum + (counts[state] ?? 0),
    0,
  );
}
