/** The part of the address behind `#`: which view is shown, of what, with which filters. */

/** `#/runs/ID?status=done` as `{name: 'runs', rest: ['ID'], query}`. */
export function parse(hash) {
  const [place, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = place.split('/').filter(Boolean).map(decoded);
  return { name: name ?? '', rest, query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of the view with other filters; empty ones are left out. */
export function withQuery(hash, changes) {
  const [place, before = ''] = hash.split('?');
  const query = new URLSearchParams(before);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  return query.size ? `${place}?${query}` : place;
}
