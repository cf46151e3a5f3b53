//! The part of a dialog that depends on the kind of step: a field for each setting, made when the kind is chosen.
'use strict';

/** `words(name)` is a label. Returns a function that reads what the fields say, as a document has it. */
function motehubSettings(container, fields, settings, words) {
  container.empty();
  const readers = fields.map(([name, type, first]) => {
    const row = $('<div class="form-row"></div>').appendTo(container);
    const label = $('<label></label>')
      .text(words(`field.${name}`))
      .appendTo(row);
    const field = motehubField(row, type, settings[name] ?? first, words);
    field.input.attr('aria-label', label.text());
    return [name, field.read];
  });
  return () => {
    const said = readers.map(([name, read]) => [name, read()]);
    return Object.fromEntries(said.filter(([, value]) => value !== undefined));
  };
}

/** A field, and how to read it: undefined if nothing was said. */
function motehubField(row, type, value, words) {
  if (Array.isArray(type)) {
    const input = $('<select></select>').appendTo(row);
    for (const word of type)
      $('<option></option>')
        .val(word)
        .text(words(`word.${word}`))
        .appendTo(input);
    input.val(value);
    return { input, read: () => input.val() };
  }
  if (type === 'truth') {
    const input = $('<input type="checkbox" style="width: auto">').prop('checked', value).appendTo(row);
    return { input, read: () => input.prop('checked') };
  }
  if (type === 'code') {
    const input = $('<textarea rows="10" spellcheck="false"></textarea>');
    input.css({ width: '70%', fontFamily: 'monospace' }).val(value).appendTo(row);
    return { input, read: () => input.val() };
  }
  if (type === 'rules' || type === 'cases') return motehubList(row, type, value, words);
  const shown = type === 'json' && value !== '' ? JSON.stringify(value) : value;
  const input = $(`<input type="${type === 'number' ? 'number' : 'text'}">`)
    .val(shown)
    .appendTo(row);
  if (type === 'json') input.attr('placeholder', words('label.json'));
  const read = { text: (text) => text, number: Number, json: motehubJson }[type];
  return { input, read: () => (input.val() === '' ? undefined : read(input.val())) };
}

/** Rules of a comparison, or cases of a map: as many lines as somebody wants. */
function motehubList(row, type, value, words) {
  const input = $('<ol></ol>').appendTo(
    $('<div style="width: 70%; display: inline-block"></div>').appendTo(row),
  );
  const line = type === 'rules' ? motehubRule : motehubCase;
  input.editableList({
    removable: true,
    sortable: true,
    height: 'auto',
    addItem: (box, _at, item) => {
      item.read = line(box, item.value ?? {}, words);
    },
  });
  for (const one of value) input.editableList('addItem', { value: one });
  const read = () =>
    input
      .editableList('items')
      .toArray()
      .map((item) => item.data('data').read());
  return { input, read };
}

function motehubRule(box, rule, words) {
  const operator = $('<select style="width: 38%"></select>').appendTo(box);
  for (const word of MOTEHUB_OPERATORS) {
    $('<option></option>')
      .val(word)
      .text(words(`operator.${word}`))
      .appendTo(operator);
  }
  operator.val(rule.operator ?? 'gt').attr('aria-label', words('field.operator'));
  const value = motehubInput(box, rule.value, words('field.value'));
  const to = motehubInput(box, rule.to, words('field.to'));
  const show = () => {
    value.toggle(!['true', 'false', 'null', 'not_null'].includes(operator.val()));
    to.toggle(operator.val() === 'between');
  };
  operator.on('change', show);
  show();
  return () => {
    const said = { operator: operator.val(), value: motehubJson(value.val()), to: motehubJson(to.val()) };
    if (['true', 'false', 'null', 'not_null'].includes(said.operator)) delete said.value;
    if (said.operator !== 'between') delete said.to;
    return said;
  };
}

function motehubCase(box, one, words) {
  const when = motehubInput(box, one.when, words('field.when'));
  $('<span> → </span>').appendTo(box);
  const then = motehubInput(box, one.then, words('field.then'));
  return () => ({ when: motehubJson(when.val()), then: motehubJson(then.val()) });
}

function motehubInput(box, value, label) {
  const input = $('<input type="text" style="width: 24%; margin-left: 4px">').appendTo(box);
  const shown = typeof value === 'string' ? value : JSON.stringify(value);
  return input.val(shown).attr({ placeholder: label, 'aria-label': label });
}

/** A number, true, false, null or anything else in JSON; else the text itself. */
function motehubJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
