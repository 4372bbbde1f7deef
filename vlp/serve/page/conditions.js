// Filters as the condition that the server reads: "split = 'val' AND width >= 500".

/** The condition of a search's filters and of what was written by hand; "" for none. */
export function condition(query, columns) {
  const known = new Map(columns.map((column) => [column.name, column]));
  const parts = [];
  for (const [name, filter] of Object.entries(query.filters)) {
    const column = known.get(name) ?? { name, type: "string" };
    parts.push(...terms(column, filter));
  }
  const own = query.where.trim();
  if (!own) return parts.join(" AND ");
  return [...parts, parts.length ? `(${own})` : own].join(" AND ");
}

/** How a column is filtered: "number", "choice", "words" or, if not at all, null. */
export function kindOf(column) {
  if (column.values?.length > 1) return "choice";
  if (column.values) return null; // the same everywhere
  if (isNumber(column)) return "number";
  return /string|utf8/.test(column.type) && !/list|map|struct/.test(column.type) ? "words" : null;
}

function isNumber(column) {
  return /^(u?int|float|double|half|decimal)/.test(column.type);
}

function terms(column, filter) {
  const name = quotedName(column.name);
  const found = [];
  if (filter.values?.length) found.push(among(name, column, filter.values));
  if (filter.least !== undefined) found.push(`${name} >= ${filter.least}`);
  if (filter.most !== undefined) found.push(`${name} <= ${filter.most}`);
  if (filter.contains) found.push(`${name} ILIKE ${quoted(`%${filter.contains}%`)}`);
  return found;
}

function among(name, column, values) {
  const given = values.filter((value) => value !== null).map((value) => literal(column, value));
  const choices = [];
  if (given.length === 1) choices.push(`${name} = ${given[0]}`);
  if (given.length > 1) choices.push(`${name} IN (${given.join(", ")})`);
  if (values.includes(null)) choices.push(`${name} IS NULL`);
  return choices.length > 1 ? `(${choices.join(" OR ")})` : choices[0];
}

function literal(column, value) {
  if (isNumber(column) && Number.isFinite(Number(value))) return String(Number(value));
  if (column.type === "bool") return String(value) === "true" ? "TRUE" : "FALSE";
  return quoted(String(value));
}

function quoted(text) {
  return `'${text.replaceAll("'", "''")}'`;
}

function quotedName(name) {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
