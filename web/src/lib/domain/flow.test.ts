//! Tests of drawing flows: what is drawn, what is said of it, and where the hub's mistakes are.
import { expect, test } from 'vitest';
import { add, connect, move, nudge, remove, set, whyNot } from './draw';
import { EMPTY, nameOf, summaryOf, type Graph, type Step } from './flow';
import { GROUPS, KINDS, kindOf } from './kinds';
import { mistakeIn, sentenceOfMistake } from './mistake';
import { begin, next, redo, undo } from './past';
import { differences } from './redraw';
import { readSpan, spanText } from './span';
import { kindOfValue, readValue, textOfValue } from './value';

/** Sensor → compare → publish, as a person adds them one after the other. */
function seed(): Graph {
  const one = add(EMPTY, 'sensor', null);
  const two = add(one.graph, 'compare', null, one.id);
  return add(two.graph, 'publish', null, two.id).graph;
}

test('the palette offers every kind once', () => {
  expect(GROUPS.flatMap(([, kinds]) => kinds).sort()).toEqual(Object.keys(KINDS).sort());
  expect(kindOf('not made yet')).toMatchObject({ title: 'not made yet', takes: true, emits: true });
});

test('steps that are added after each other are wired, and stand apart', () => {
  const graph = seed();
  expect(graph.wires).toEqual([
    { from: 'sensor', to: 'compare' },
    { from: 'compare', to: 'publish' },
  ]);
  const second = add(graph, 'compare', null, 'sensor');
  expect(second.id).toBe('compare_2');
  const places = new Set(second.graph.steps.map((step) => `${step.x} ${step.y}`));
  expect(places.size).toBe(4);
  expect(add(graph, 'compare', { x: 13, y: 28 }, 'sensor').graph.steps[3]).toMatchObject({ x: 10, y: 30 });
  expect(add(graph, 'timer', null, 'publish').graph.wires).toHaveLength(2);
});

test.each<[string, string, string | null]>([
  ['sensor', 'publish', null],
  ['publish', 'compare', 'Publish emits nothing.'],
  ['compare', 'sensor', 'Sensor takes nothing.'],
  ['compare', 'compare', 'A value would go round for ever.'],
  ['sensor', 'compare', 'They are connected already.'],
  ['sensor', 'gone', 'There is no such step.'],
])('a wire from %s to %s: %s', (from, to, why) => {
  expect(whyNot(seed(), from, to)).toBe(why);
  expect(connect(seed(), from, to).wires).toHaveLength(why === null ? 3 : 2);
});

test('a circle over several steps is seen', () => {
  let graph = seed();
  graph = add(graph, 'not', null, 'compare').graph;
  graph = add(graph, 'pass', null, 'not').graph;
  expect(whyNot(graph, 'pass', 'compare')).toBe('A value would go round for ever.');
});

test('a step goes with its wires, a wire alone', () => {
  expect(remove(seed(), ['compare'])).toMatchObject({
    steps: [{ id: 'sensor' }, { id: 'publish' }],
    wires: [],
  });
  expect(remove(seed(), [], ['sensor>compare']).wires).toEqual([{ from: 'compare', to: 'publish' }]);
});

test('steps are moved by place and by grid lines, and set', () => {
  const moved = nudge(move(seed(), new Map([['sensor', { x: 102, y: 7 }]])), ['sensor'], -1, 2);
  expect(moved.steps[0]).toMatchObject({ x: 90, y: 30 });
  const named = set(set(seed(), 'sensor', { name: 'Kitchen' }), 'sensor', { name: undefined, pin: 5 });
  expect(named.steps[0]).not.toHaveProperty('name');
  expect(named.steps[0]).toMatchObject({ pin: 5 });
});

test('what was drawn is undone and done again; letters of a name at once', () => {
  let past = begin(EMPTY);
  past = next(past, seed());
  for (const name of ['K', 'Ki', 'Kit']) past = next(past, set(past.now, 'sensor', { name }), 'name');
  expect(past.before).toHaveLength(2);
  past = undo(past);
  expect(nameOf(past.now.steps[0] as Step)).toBe('Sensor');
  past = redo(past);
  expect(nameOf(past.now.steps[0] as Step)).toBe('Kit');
  past = undo(undo(undo(past)));
  expect(past.now).toBe(EMPTY);
  expect(next(past, EMPTY)).toBe(past);
});

test.each<[string, Partial<Step>]>([
  ['DHT22 on pin 4, every 5 s', { kind: 'sensor', sensor: 'dht22', pin: 4, every_ms: 5000 }],
  [
    'temperature > 20 and ≤ 30',
    {
      kind: 'compare',
      property: 'temperature',
      rules: [
        { operator: 'gt', value: 20 },
        { operator: 'lte', value: 30 },
      ],
    },
  ],
  ['value between 1 and 5', { kind: 'compare', rules: [{ operator: 'between', value: 1, to: 5 }] }],
  ['value is true', { kind: 'compare', rules: [{ operator: 'true' }] }],
  ['true → on', { kind: 'map', cases: [{ when: true, then: 'on' }] }],
  ['light.on of Lamp', { kind: 'switch', path: 'light.on', device: 'Lamp' }],
  ['192.0.2.7/hook', { kind: 'webhook', url: 'http://192.0.2.7/hook' }],
])('a step says: %s', (text, step) => {
  expect(summaryOf({ id: 'a', kind: 'pass', x: 0, y: 0, ...step } as Step)).toBe(text);
});

test.each<[string, object, string]>([
  [
    'steps.compare.rules[0].value: is missing: with what is it compared?',
    { step: 'compare', field: 'rules', rest: '[0].value' },
    'Compare, rules[0].value: is missing: with what is it compared?',
  ],
  [
    'steps.publish: no wire leads to it: connect it, or remove it',
    { step: 'publish', field: '', rest: '' },
    'Publish: no wire leads to it: connect it, or remove it',
  ],
  ['steps[1].id: too long', { step: 'compare', field: 'id' }, 'Compare, id: too long'],
  ['wires[1].to: there is no step', { wire: 'compare>publish', step: null }, 'there is no step'],
  ['boards: unknown field', { step: null, field: 'boards' }, 'boards: unknown field'],
  ['The hub cannot be reached: oh', { step: null, field: '' }, 'The hub cannot be reached: oh'],
])('the mistake «%s» is found', (detail, where, sentence) => {
  const mistake = mistakeIn(seed(), { detail, position: 3 });
  expect(mistake).toMatchObject({ position: 3, ...where });
  expect(sentenceOfMistake(seed(), mistake)).toBe(sentence);
});

test('two versions differ by steps, settings and wires, not by where they are drawn', () => {
  const before = seed();
  const moved = nudge(before, ['sensor'], 5, 5);
  expect(differences(before, moved)).toEqual([]);
  const other = add(remove(set(moved, 'sensor', { pin: 5 }), ['publish']), 'pass', null, 'compare').graph;
  expect(differences(before, { ...other, boards: 'tag=a' }).map(({ op, what }) => `${op} ${what}`)).toEqual([
    '~ The flow',
    '+ Pass',
    '- Publish',
    '~ Sensor',
    '+ Compare → Pass',
    '- Compare → Publish',
  ]);
});

test.each<[string, number | null, string?]>([
  ['500 ms', 500],
  ['5 s', 5000],
  ['1 min 30 s', 90_000],
  ['1.5 s', 1500, '1 s 500 ms'],
  ['2m', 120_000, '2 min'],
  ['1 d', 86_400_000],
  ['5', null],
  ['soon', null],
  ['5 s later', null],
])('the span «%s»', (text, milliseconds, shown = text) => {
  expect(readSpan(text)).toBe(milliseconds);
  if (milliseconds !== null) expect(spanText(milliseconds)).toBe(shown);
});

test.each<[string, unknown, string]>([
  ['20', 20, 'a number'],
  ['on', 'on', 'a text'],
  ['"20"', '20', 'a text'],
  ['true', true, 'true or false'],
  ['null', null, 'null'],
  ['{"on":true}', { on: true }, 'an object'],
  ['""', '', 'a text'],
])('the value «%s» is read and shown', (text, value, kind) => {
  expect(readValue(text)).toEqual(value);
  expect(textOfValue(value)).toBe(text);
  expect(kindOfValue(value)).toBe(kind);
});
