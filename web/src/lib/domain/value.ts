//! JSON values in a field of one line: what is no JSON is a text, so that nobody has to write quotes.

/** A value as it is typed. A text is shown without quotes, unless it would then be read as something else. */
export function textOfValue(value: unknown): string {
  if (value === undefined) return '';
  if (typeof value === 'string' && value !== '' && readValue(value) === value) return value;
  return JSON.stringify(value);
}

/** What was typed as a value; nothing typed is no value. */
export function readValue(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  try {
    return JSON.parse(trimmed) as unknown;
  } catch {
    return trimmed;
  }
}

/** What a value is, for people. */
export function kindOfValue(value: unknown): string {
  if (value === undefined) return '';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return (
    { boolean: 'true or false', number: 'a number', string: 'a text' }[typeof value as string] ?? 'an object'
  );
}
