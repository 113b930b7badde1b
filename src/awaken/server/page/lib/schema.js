/**
 * Whether a value fits a JSON schema, for the keywords that questions and tools use. What we do not
 * know we let pass: the server checks again and has the last word.
 */

const MAX_DEPTH = 32;

/** What is wrong with `value`, each as `{path, message}`; empty when it fits. */
export function problems(schema, value, root = schema, path = '', depth = 0) {
  if (schema === true || schema === undefined || schema === null || depth > MAX_DEPTH) return [];
  if (schema === false) return [{ path, message: 'must not be there' }];
  if (schema.$ref) return problems(resolve(root, schema.$ref), value, root, path, depth + 1);
  const into = (part, inner, name) => problems(inner, part, root, name, depth + 1);
  const found = [
    ...ofType(schema, value, path),
    ...ofChoice(schema, value, path),
    ...ofCombination(schema, path, (inner) => into(value, inner, path)),
  ];
  if (typeof value === 'string') found.push(...ofText(schema, value, path));
  if (typeof value === 'number') found.push(...ofNumber(schema, value, path));
  if (Array.isArray(value)) found.push(...ofList(schema, value, path, into));
  else if (isObject(value)) found.push(...ofObject(schema, value, path, into));
  return found;
}

/** A place of the same document, `#/$defs/Name`; what cannot be found allows all. */
export function resolve(root, ref) {
  if (!ref.startsWith('#')) return true;
  const names = ref.slice(1).split('/').slice(1).map(unescapeName);
  return names.reduce((inner, name) => inner?.[name], root) ?? true;
}

const unescapeName = (name) => decodeURIComponent(name).replaceAll('~1', '/').replaceAll('~0', '~');

export const isObject = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The JSON type of a value; a whole number is also a number. */
export function typeOf(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (Number.isInteger(value)) return 'integer';
  return typeof value;
}

const hasType = (value, type) =>
  typeOf(value) === type || (type === 'number' && typeOf(value) === 'integer');

const same = (a, b) => canonical(a) === canonical(b);

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;
}

const unless = (fine, path, message) => (fine ? [] : [{ path, message }]);

const NAMES = { array: 'a list', object: 'an object', string: 'a text', integer: 'a whole number' };
const named = (type) => NAMES[type] ?? (type === 'null' ? 'null' : `a ${type}`);

function ofType({ type }, value, path) {
  if (type === undefined) return [];
  const types = [type].flat();
  const fine = types.some((each) => hasType(value, each));
  return unless(fine, path, `must be ${types.map(named).join(' or ')}`);
}

function ofChoice(schema, value, path) {
  if ('const' in schema && !same(schema.const, value)) {
    return [{ path, message: `must be ${JSON.stringify(schema.const)}` }];
  }
  const choices = schema.enum;
  if (!choices || choices.some((choice) => same(choice, value))) return [];
  return [{ path, message: `must be one of ${choices.map((c) => JSON.stringify(c)).join(', ')}` }];
}

function ofCombination(schema, path, check) {
  const fits = (inner) => check(inner).length === 0;
  const found = (schema.allOf ?? []).flatMap(check);
  if (schema.anyOf && !schema.anyOf.some(fits))
    found.push({ path, message: 'fits none of the forms' });
  if (schema.oneOf && schema.oneOf.filter(fits).length !== 1) {
    found.push({ path, message: 'must fit exactly one of the forms' });
  }
  if (schema.not !== undefined && fits(schema.not))
    found.push({ path, message: 'must be something else' });
  return found;
}

function ofText({ minLength, maxLength, pattern }, value, path) {
  const length = [...value].length;
  return [
    ...unless(!(length < minLength), path, `must have at least ${minLength} characters`),
    ...unless(!(length > maxLength), path, `must have at most ${maxLength} characters`),
    ...unless(matches(pattern, value), path, `must match ${pattern}`),
  ];
}

function matches(pattern, value) {
  if (pattern === undefined) return true;
  try {
    return new RegExp(pattern, 'u').test(value);
  } catch {
    return true;
  }
}

function ofNumber(schema, value, path) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  return [
    ...unless(!(value < minimum), path, `must be at least ${minimum}`),
    ...unless(!(value > maximum), path, `must be at most ${maximum}`),
    ...unless(!(value <= exclusiveMinimum), path, `must be more than ${exclusiveMinimum}`),
    ...unless(!(value >= exclusiveMaximum), path, `must be less than ${exclusiveMaximum}`),
    ...unless(
      multipleOf === undefined || Number.isInteger(value / multipleOf),
      path,
      `must be a multiple of ${multipleOf}`,
    ),
  ];
}

function ofList({ items, prefixItems = [], minItems, maxItems }, value, path, into) {
  const each = (part, place) =>
    into(part, prefixItems[place] ?? items ?? true, `${path}[${place}]`);
  return [
    ...unless(!(value.length < minItems), path, `must have at least ${minItems} items`),
    ...unless(!(value.length > maxItems), path, `must have at most ${maxItems} items`),
    ...value.flatMap(each),
  ];
}

function ofObject(schema, value, path, into) {
  const { properties = {}, required = [], additionalProperties: others = true } = schema;
  const place = (name) => (path ? `${path}.${name}` : name);
  const missing = required.filter((name) => !Object.hasOwn(value, name));
  const found = missing.map((name) => ({ path: place(name), message: 'is required' }));
  for (const [name, part] of Object.entries(value)) {
    if (Object.hasOwn(properties, name)) found.push(...into(part, properties[name], place(name)));
    else if (others === false) found.push({ path: place(name), message: 'is not known' });
    else found.push(...into(part, others, place(name)));
  }
  return found;
}

/** What is wrong, for people. */
export function told(found) {
  return found
    .map(({ path, message }) => (path ? `${path} ${message}` : `it ${message}`))
    .join('; ');
}
