/**
 * A form made from a JSON schema, for simple types; for anything else a text with JSON in it. Both
 * give the value, checked against the schema.
 */

import { h, refill, setText } from '../lib/dom.js';
import { json, plain } from '../lib/format.js';
import { isObject, problems, resolve, told } from '../lib/schema.js';

let made = 0;
const newName = () => `field-${(made += 1)}`;

/** Something that can be filled in: `node`, and `read()`, which gives `{value}` or `{problem}`. */
export class SchemaForm {
  constructor(schema, { value, onchange = () => {} } = {}) {
    this.schema = schema;
    this.problem = h('p', { class: 'trouble', hidden: true, role: 'alert' });
    this.fields = fieldsOf(schema);
    this.asJson = !this.fields || value !== undefined;
    this.place = h('div', { class: 'fields' });
    this.toggle = h('button', {
      type: 'button',
      class: 'small link',
      onclick: () => this.#switch(),
    });
    this.toggle.hidden = !this.fields;
    this.node = h('div', { class: 'form', oninput: () => (this.#check(), onchange()) });
    this.node.append(this.place, this.problem, this.toggle);
    this.#show(value);
  }

  /** The value, or what is wrong with it; what is wrong is shown. */
  read() {
    const read = this.#read();
    this.#tell(read.problem);
    return read;
  }

  #read() {
    try {
      const value = this.asJson ? parsed(this.area.value) : collected(this.fields);
      const found = problems(this.schema, value);
      return found.length ? { problem: told(found) } : { value };
    } catch (error) {
      return { problem: error.message };
    }
  }

  // While somebody types, only say that what was wrong is right by now.
  #check() {
    if (!this.problem.hidden || this.asJson) this.#tell(this.#read().problem);
  }

  #tell(problem) {
    setText(this.problem, problem ?? '');
    this.problem.hidden = !problem;
  }

  #switch() {
    const read = this.#read();
    this.asJson = !this.asJson;
    this.#show(read.value);
    this.#tell(null);
  }

  #show(value) {
    setText(this.toggle, this.asJson ? 'Fill in a form instead' : 'Write JSON instead');
    if (this.asJson) return refill(this.place, this.#jsonArea(value));
    this.fields = fieldsOf(this.schema);
    refill(
      this.place,
      this.fields.list.map((field) => field.node),
    );
  }

  #jsonArea(value) {
    const id = newName();
    const text = json(value === undefined ? skeleton(this.schema) : value);
    const rows = Math.min(12, Math.max(3, text.split('\n').length));
    this.area = h('textarea', { id, rows, class: 'code', spellcheck: 'false', value: text });
    return [h('label', { for: id }, 'JSON'), this.area];
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`this is not JSON: ${error.message}`);
  }
}

// --- fields ---------------------------------------------------------------------------------------

/** The fields for a schema, `{list, whole}`; null when it is not simple. */
function fieldsOf(schema) {
  if (!isObject(schema)) return null;
  const at = schema.$ref ? resolve(schema, schema.$ref) : schema;
  if (at.type !== 'object') {
    const field = fieldOf(schema, 'answer', at, true);
    return field && { list: [field], whole: field };
  }
  const required = new Set(at.required ?? []);
  const list = Object.entries(at.properties ?? {}).map(([name, inner]) =>
    fieldOf(schema, name, inner, required.has(name)),
  );
  return list.length && list.every(Boolean) ? { list } : null;
}

function collected({ list, whole }) {
  if (whole) return whole.read();
  const entries = list.map((field) => [field.name, field.read()]);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function fieldOf(root, name, given, required) {
  const schema = optionalOf(given?.$ref ? resolve(root, given.$ref) : given);
  const input = inputOf(schema, required);
  if (!input) return null;
  const id = newName();
  const about = [given?.description, schema.description].find(Boolean);
  const label = h(
    'label',
    { for: id },
    plain(schema.title ?? name),
    !required && h('small', {}, ' optional'),
  );
  input.control.id = id;
  const hint = about && h('p', { class: 'hint', id: `${id}-hint` }, about);
  if (hint) input.control.setAttribute('aria-describedby', hint.id);
  const node = h('div', { class: 'field' }, label, input.control, hint);
  return { name, node, read: () => input.read() };
}

/** `X or null` is an X that may be left out. */
function optionalOf(schema) {
  const forms = schema?.anyOf?.filter((form) => form.type !== 'null');
  return forms?.length === 1 ? { ...schema, ...forms[0], anyOf: undefined } : schema;
}

function inputOf(schema, required) {
  if (Array.isArray(schema?.enum)) return choice(schema.enum, schema, required);
  switch (schema?.type) {
    case 'string':
      return textInput(schema, required);
    case 'integer':
    case 'number':
      return numberInput(schema);
    case 'boolean':
      return choice([true, false], schema, required, (value) => (value ? 'yes' : 'no'));
    default:
      return isObject(schema) && Object.keys(schema).every(isAbout) ? anything() : null;
  }
}

const isAbout = (keyword) => ['title', 'description', 'default'].includes(keyword);

function choice(values, schema, required, words = String) {
  const options = values.map((value, place) => h('option', { value: String(place) }, words(value)));
  const control = h('select', {}, h('option', { value: '' }, required ? 'choose…' : '—'), options);
  const chosen = values.findIndex((value) => value === schema.default);
  if (chosen >= 0) control.value = String(chosen);
  return {
    control,
    read: () => (control.value === '' ? undefined : values[Number(control.value)]),
  };
}

const KINDS = { date: 'date', 'date-time': 'text', email: 'email', uri: 'url', time: 'time' };

function textInput(schema, required) {
  const long = schema.maxLength > 200 || schema.format === 'multiline';
  const props = { value: schema.default ?? '', maxlength: schema.maxLength, autocomplete: 'off' };
  const control = long
    ? h('textarea', { rows: 4, ...props })
    : h('input', { type: KINDS[schema.format] ?? 'text', ...props });
  return { control, read: () => (control.value === '' && !required ? undefined : control.value) };
}

function numberInput(schema) {
  const { minimum: min, maximum: max } = schema;
  const step = schema.type === 'integer' ? 1 : 'any';
  const control = h('input', { type: 'number', min, max, step, value: schema.default ?? '' });
  return { control, read: () => (control.value === '' ? undefined : Number(control.value)) };
}

function anything() {
  const control = h('textarea', {
    rows: 2,
    class: 'code',
    placeholder: 'JSON',
    spellcheck: 'false',
  });
  return { control, read: () => (control.value.trim() ? parsed(control.value) : undefined) };
}

/** A value to begin with. */
function skeleton(schema) {
  const at = isObject(schema) && schema.$ref ? resolve(schema, schema.$ref) : schema;
  if (!isObject(at)) return null;
  if ('default' in at) return at.default;
  if (at.type !== 'object')
    return { string: '', array: [], boolean: false, number: 0, integer: 0 }[at.type] ?? null;
  const names = Object.keys(at.properties ?? {}).filter((name) => at.required?.includes(name));
  return Object.fromEntries(names.map((name) => [name, skeleton(at.properties[name])]));
}
