//! The kinds of steps and their settings, as the dialogs offer them. The hub checks what they say.
'use strict';

/**
 * By the type of node: the kinds it can be; by kind: its settings. A setting has the name that a document has, a
 * type (`text`, `number`, `json`, `truth`, `code`, `rules`, `cases`, or a list of words to choose from), and what
 * it is at first.
 */
const MOTEHUB_KINDS = {
  'motehub-source': {
    sensor: [
      ['sensor', ['dht22', 'dht11', 'adc', 'pin'], 'dht22'],
      ['pin', 'number', 4],
      ['every_ms', 'number', 5000],
    ],
    timer: [
      ['every_ms', 'number', 60000],
      ['value', 'json', true],
    ],
    metric: [
      ['device', 'text', ''],
      ['metric', 'text', ''],
    ],
    topic: [['topic', 'text', '']],
  },
  'motehub-step': {
    compare: [
      ['property', 'text', ''],
      ['rules', 'rules', [{ operator: 'gt', value: 20 }]],
      ['emits', ['result', 'value'], 'result'],
    ],
    and: [],
    or: [],
    not: [],
    pass: [],
    debounce: [['quiet_ms', 'number', 1000]],
    average: [
      ['property', 'text', ''],
      ['count', 'number', 10],
      ['window_ms', 'number', ''],
    ],
    expression: [['expression', 'text', 'value']],
    map: [
      ['cases', 'cases', [{ when: true, then: 'on' }]],
      ['otherwise', 'json', ''],
    ],
    code: [
      ['language', ['python', 'lua'], 'python'],
      ['source', 'code', 'def step(value):\n    return value\n'],
    ],
  },
  'motehub-sink': {
    switch: [
      ['device', 'text', ''],
      ['path', 'text', ''],
      ['value', 'json', ''],
    ],
    publish: [
      ['topic', 'text', ''],
      ['retain', 'truth', false],
    ],
    command: [
      ['device', 'text', ''],
      ['command', 'text', ''],
      ['arguments', 'json', ''],
    ],
    webhook: [['url', 'text', '']],
  },
};

const MOTEHUB_OPERATORS = [
  'gt',
  'gte',
  'lt',
  'lte',
  'eq',
  'neq',
  'between',
  'true',
  'false',
  'null',
  'not_null',
];

if (typeof module !== 'undefined') module.exports = { MOTEHUB_KINDS };
