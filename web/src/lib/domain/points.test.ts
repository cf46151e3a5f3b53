//! Tests of values: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import { numberText, valueText } from './points';

test('values are written short and as text', () => {
  expect(numberText(21.500000001)).toBe('21.5');
  expect(numberText(35012)).toBe('35012');
  expect(numberText(0.000012345678)).toBe('0.0000123457');
  expect(valueText('<b>x</b>')).toBe('<b>x</b>');
  expect(valueText({ x: 1 })).toBe('{"x":1}');
  expect(valueText(false)).toBe('false');
});
