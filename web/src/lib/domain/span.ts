//! Spans of time as people write them in a field: «500 ms», «5 s», «1 min 30 s».

const UNITS: [unit: string, milliseconds: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
  ['ms', 1],
];

/** Milliseconds as text without a remainder lost. What is no number becomes nothing. */
export function spanText(milliseconds: unknown): string {
  if (typeof milliseconds !== 'number' || !Number.isFinite(milliseconds)) return '';
  if (milliseconds === 0) return '0 ms';
  const parts: string[] = [];
  let rest = milliseconds;
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count > 0) parts.push(`${count} ${unit}`);
    rest -= count * size;
  }
  return parts.join(' ');
}

/** Text as milliseconds; null if it is no span. A number needs its unit, but a fraction is fine: «1.5 s». */
export function readSpan(text: string): number | null {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\b\s*/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text.trim()) return null;
  const sizes = new Map([...UNITS, ['m', 60_000] as const]);
  const sum = parts.reduce((all, [, count, unit]) => all + Number(count) * (sizes.get(unit ?? '') ?? 0), 0);
  return Math.round(sum);
}
