//! The kinds of steps: what each is for, where it can run, what can be set, and what a new one begins with. One
//! visible table; the palette and the settings are made from it.

export type Kind =
  | 'sensor'
  | 'metric'
  | 'topic'
  | 'timer'
  | 'compare'
  | 'and'
  | 'or'
  | 'not'
  | 'debounce'
  | 'average'
  | 'expression'
  | 'map'
  | 'pass'
  | 'code'
  | 'failure'
  | 'switch'
  | 'publish'
  | 'command'
  | 'webhook';

/** How a setting is typed. */
export type Input =
  | { kind: 'text'; placeholder?: string }
  | { kind: 'whole' }
  | { kind: 'span' }
  | { kind: 'value' }
  | { kind: 'truth' }
  | { kind: 'choice'; choices: [value: string, text: string][] }
  | { kind: 'device' }
  | { kind: 'metric' }
  | { kind: 'capabilities' }
  | { kind: 'rules' }
  | { kind: 'cases' }
  | { kind: 'expression' }
  | { kind: 'code' };
export type Setting = { name: string; label: string; input: Input; hint?: string };
export type KindInfo = {
  title: string;
  about: string;
  runs: 'boards' | 'hub' | 'anywhere';
  /** Takes values, emits values. */
  takes: boolean;
  emits: boolean;
  settings: Setting[];
  start: Record<string, unknown>;
};

const EVERY: Setting = {
  name: 'every_ms',
  label: 'Every',
  input: { kind: 'span' },
  hint: 'Such as 500 ms, 5 s, 2 min.',
};
const PROPERTY: Setting = {
  name: 'property',
  label: 'Of the value (optional)',
  input: { kind: 'text', placeholder: 'temperature' },
  hint: 'A part of it, with dots. Empty: the whole value.',
};
const DEVICE: Setting = { name: 'device', label: 'Device', input: { kind: 'device' } };
const TOPIC: Setting = {
  name: 'topic',
  label: 'Topic',
  input: { kind: 'text', placeholder: 'kitchen/warm' },
};
const SAME = 'Empty: the value that comes.';

/** What a new step of code begins with. */
export const CODE = {
  python: 'def step(value):\n    return value\n',
  lua: 'function step(value)\n  return value\nend\n',
};

const source = { runs: 'hub', takes: false, emits: true } as const;
const between = { runs: 'anywhere', takes: true, emits: true } as const;
const sink = { runs: 'hub', takes: true, emits: false } as const;

export const KINDS: Record<Kind, KindInfo> = {
  sensor: {
    ...source,
    runs: 'boards',
    title: 'Sensor',
    about: 'Reads a sensor of the board it runs on, again and again.',
    settings: [
      {
        name: 'sensor',
        label: 'Sensor',
        input: {
          kind: 'choice',
          choices: [
            ['dht22', 'DHT22: temperature, humidity'],
            ['dht11', 'DHT11: temperature, humidity'],
            ['adc', 'Analogue input'],
            ['pin', 'Digital input'],
          ],
        },
      },
      { name: 'pin', label: 'Pin', input: { kind: 'whole' } },
      EVERY,
    ],
    start: { sensor: 'dht22', pin: 4, every_ms: 5000 },
  },
  metric: {
    ...source,
    title: 'Metric',
    about: 'What a device measures, whenever it says so.',
    settings: [DEVICE, { name: 'metric', label: 'Metric', input: { kind: 'metric' } }],
    start: { device: '', metric: '' },
  },
  topic: {
    ...source,
    title: 'Topic',
    about: 'What is published to a topic of the broker.',
    settings: [TOPIC],
    start: { topic: '' },
  },
  timer: {
    ...source,
    runs: 'anywhere',
    title: 'Timer',
    about: 'Emits the same value, again and again.',
    settings: [EVERY, { name: 'value', label: 'Value', input: { kind: 'value' } }],
    start: { every_ms: 5000, value: true },
  },
  compare: {
    ...between,
    title: 'Compare',
    about: 'Says whether all its rules hold, or lets only values through for which they do.',
    settings: [
      PROPERTY,
      { name: 'rules', label: 'Rules', input: { kind: 'rules' } },
      {
        name: 'emits',
        label: 'Emits',
        input: {
          kind: 'choice',
          choices: [
            ['result', 'true or false'],
            ['value', 'the value, if the rules hold'],
          ],
        },
      },
    ],
    start: { rules: [{ operator: 'gt', value: 20 }], emits: 'result' },
  },
  and: {
    ...between,
    title: 'And',
    about: 'True if the last values of all its wires are.',
    settings: [],
    start: {},
  },
  or: { ...between, title: 'Or', about: 'True if the last value of any wire is.', settings: [], start: {} },
  not: { ...between, title: 'Not', about: 'True if the value is not.', settings: [], start: {} },
  debounce: {
    ...between,
    title: 'Debounce',
    about: 'Passes a value on when no other came for a while.',
    settings: [{ name: 'quiet_ms', label: 'Silence', input: { kind: 'span' }, hint: 'Such as 200 ms, 2 s.' }],
    start: { quiet_ms: 1000 },
  },
  average: {
    ...between,
    title: 'Average',
    about: 'The mean of the last numbers.',
    settings: [
      PROPERTY,
      { name: 'count', label: 'Of so many numbers', input: { kind: 'whole' } },
      {
        name: 'window_ms',
        label: 'None older than (optional)',
        input: { kind: 'span' },
        hint: 'Such as 1 min.',
      },
    ],
    start: { count: 10 },
  },
  expression: {
    ...between,
    title: 'Expression',
    about: 'A value computed from the one that comes.',
    settings: [
      {
        name: 'expression',
        label: 'Expression',
        input: { kind: 'expression' },
        hint: 'In CEL, over value: value.temperature * 1.8 + 32',
      },
    ],
    start: { expression: 'value' },
  },
  map: {
    ...between,
    title: 'Map',
    about: 'One value for another.',
    settings: [
      { name: 'cases', label: 'Cases', input: { kind: 'cases' } },
      { name: 'otherwise', label: 'Otherwise (optional)', input: { kind: 'value' }, hint: 'Empty: dropped.' },
    ],
    start: { cases: [{ when: true, then: 'on' }] },
  },
  pass: { ...between, title: 'Pass', about: 'Passes on what comes.', settings: [], start: {} },
  code: {
    ...between,
    runs: 'boards',
    title: 'Code',
    about: 'A function step(value) in a language of the board. What it returns is emitted.',
    settings: [
      {
        name: 'language',
        label: 'Language',
        input: {
          kind: 'choice',
          choices: [
            ['python', 'Python'],
            ['lua', 'Lua'],
          ],
        },
      },
      { name: 'source', label: 'Source', input: { kind: 'code' } },
    ],
    start: { language: 'python', source: CODE.python },
  },
  switch: {
    ...sink,
    title: 'Switch',
    about: 'Sets what is desired of a device, in its shadow.',
    settings: [
      DEVICE,
      { name: 'path', label: 'Path in the shadow', input: { kind: 'text', placeholder: 'light.on' } },
      { name: 'value', label: 'Value (optional)', input: { kind: 'value' }, hint: SAME },
    ],
    start: { device: '', path: '' },
  },
  publish: {
    ...sink,
    title: 'Publish',
    about: 'Publishes what comes to a topic of the broker.',
    settings: [
      TOPIC,
      { name: 'retain', label: 'Keep the last value for later subscribers', input: { kind: 'truth' } },
    ],
    start: { topic: '' },
  },
  command: {
    ...sink,
    title: 'Command',
    about: 'Gives a device a command.',
    settings: [
      DEVICE,
      { name: 'command', label: 'Command', input: { kind: 'text', placeholder: 'lamp' } },
      { name: 'arguments', label: 'Arguments (optional)', input: { kind: 'value' }, hint: SAME },
    ],
    start: { device: '', command: '' },
  },
  webhook: {
    ...sink,
    title: 'Webhook',
    about: 'Posts what comes to an address, as JSON.',
    settings: [
      { name: 'url', label: 'Address', input: { kind: 'text', placeholder: 'http://192.0.2.7/hook' } },
    ],
    start: { url: '' },
  },
  failure: {
    ...sink,
    runs: 'boards',
    takes: false,
    title: 'Failure',
    about: 'Runs out of memory on boards that have these capabilities: to try what happens then.',
    settings: [{ name: 'tags', label: 'Capabilities', input: { kind: 'capabilities' } }],
    start: { tags: [] },
  },
};

/** The palette, in groups. */
export const GROUPS: [title: string, kinds: Kind[]][] = [
  ['From', ['sensor', 'metric', 'topic', 'timer']],
  ['Decide', ['compare', 'and', 'or', 'not']],
  ['Change', ['expression', 'map', 'average', 'debounce', 'pass', 'code']],
  ['To', ['switch', 'publish', 'command', 'webhook']],
  ['Try', ['failure']],
];

/** A kind that this page does not know yet is shown, and can be moved and wired. */
export function kindOf(kind: string): KindInfo {
  const unknown: KindInfo = { ...between, title: kind, about: '', settings: [], start: {} };
  return (KINDS as Record<string, KindInfo>)[kind] ?? unknown;
}
