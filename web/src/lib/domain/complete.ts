//! What can be typed next in a selector: fields, operators, and the names that are in use on this hub. The hub
//! reads selectors; this only helps to write them, so it is content with being right mostly.

export type Words = {
  fields: { word: string; what: string; operators: string[] }[];
  tags: string[];
  groups: string[];
  capabilities: string[];
  scripts: string[];
  metrics: string[];
  attributes: string[];
};

export type Choice = { text: string; what: string };
/** The choices, and the part of the text that the chosen one takes the place of. */
export type Completion = { from: number; to: number; choices: Choice[] };

const CHOICES_MAX = 12;
const TOKEN = /"(?:[^"\\]|\\.)*"?|!=|<=|>=|[=~<>(),]|[^\s=~<>!(),"]+/g;
const COMPARES = ['=', '!=', '~'];
const ORDERS = ['<', '<=', '>', '>='];
const MEASURED = ['<', '<=', '>', '>=', '=', '!=', '~', 'in', 'exists'];
const FIXED: Record<string, string[]> = {
  dialect: ['esp-firmware', 'line', 'micropython', 'mongoose', 'native', 'nodemcu', 'riot'],
  state: ['ok', 'pending', 'failing', 'waiting_for_script'],
  seen: ['90s', '10m', '2h', '1d', '1w'],
  registered: ['1h', '1d', '1w'],
};

/** A name as a selector takes it: quoted if it holds anything but plain characters. */
export function quoted(name: string): string {
  return /^[A-Za-z_][\w.:/-]*$/.test(name) ? name : `"${name.replace(/(["\\])/g, '\\$1')}"`;
}

export function complete(text: string, caret: number, words: Words): Completion {
  const before = text.slice(0, caret);
  const tokens = [...before.matchAll(TOKEN)].map((found) => ({ text: found[0], at: found.index }));
  const last = tokens.at(-1);
  const typing = last !== undefined && last.at + last.text.length === caret && !isSign(last.text);
  const from = typing ? last.at : caret;
  const begun = (typing ? last.text : '').replace(/^"/, '').toLowerCase();
  const done = (typing ? tokens.slice(0, -1) : tokens).map((token) => token.text);
  const choices = expected(done, words).filter(
    (choice) => choice.text.replace(/^"/, '').toLowerCase().startsWith(begun) && choice.text !== last?.text,
  );
  return { from, to: caret, choices: choices.slice(0, CHOICES_MAX) };
}

/** The text with a choice in it, and where the caret stands then. */
export function accept(
  text: string,
  completion: Completion,
  choice: Choice,
): { text: string; caret: number } {
  const head = `${text.slice(0, completion.from)}${choice.text} `;
  return { text: head + text.slice(completion.to).trimStart(), caret: head.length };
}

function isSign(text: string): boolean {
  return /^[=~<>!(),]+$/.test(text);
}

function expected(done: string[], words: Words): Choice[] {
  const last = done.at(-1)?.toLowerCase();
  if (last === undefined || ['and', 'or', 'not'].includes(last)) return conditions(words, last !== 'not');
  if (COMPARES.includes(last) || ORDERS.includes(last)) return values(done.at(-2), words);
  const list = listOf(done);
  if (list !== null) {
    if (last === '(' || last === ',') return values(list, words);
    return [',', ')'].map((text) => ({ text, what: '' }));
  }
  if (last === '(') return conditions(words, true);
  if (last === 'in') return [{ text: '(', what: 'a list' }];
  const field = words.fields.find((known) => known.word === last);
  const isValue = done.length > 1 && (isCompare(done.at(-2)) || last === 'exists' || last === ')');
  if (isValue || last === ')' || (field && field.operators.length === 0)) {
    return ['and', 'or'].map((text) => ({ text, what: '' }));
  }
  return (field?.operators ?? MEASURED).map((text) => ({ text, what: '' }));
}

function isCompare(text: string | undefined): boolean {
  return text !== undefined && (COMPARES.includes(text) || ORDERS.includes(text));
}

/** The field whose list of values is open, or null. */
function listOf(done: string[]): string | null {
  const open = done.lastIndexOf('(');
  if (open < 2 || done.lastIndexOf(')') > open || done[open - 1]?.toLowerCase() !== 'in') return null;
  return done[open - 2] ?? null;
}

function conditions(words: Words, withNot: boolean): Choice[] {
  const fields = words.fields.map((field) => ({ text: field.word, what: field.what }));
  const known = new Set(words.fields.map((field) => field.word));
  const own = (prefix: string, what: string) => (name: string) => ({
    text: known.has(name) ? `${prefix}.${quoted(name)}` : quoted(name),
    what,
  });
  const metrics = words.metrics.map(own('telemetry', 'measured last'));
  const attributes = words.attributes
    .filter((name) => !words.metrics.includes(name))
    .map(own('reported', 'reported by the device'));
  const not = withNot ? [{ text: 'not', what: 'the opposite' }] : [];
  return [...fields, ...metrics, ...attributes, ...not];
}

function values(field: string | undefined, words: Words): Choice[] {
  const names: Record<string, string[]> = {
    ...FIXED,
    tag: words.tags,
    group: words.groups,
    capability: words.capabilities,
    script: words.scripts,
  };
  return (names[field?.toLowerCase() ?? ''] ?? []).map((name) => ({
    text: FIXED[field ?? ''] ? name : quoted(name),
    what: '',
  }));
}
