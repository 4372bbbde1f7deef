// A search as a value: its address, and what the server is asked.

import { condition } from "./conditions.js";

export const K = 40;

/** Kinds of a query's parts in the order in which the server numbers their weights. */
const KINDS = ["text", "picture", "like"];

/**
 * A search for nothing. A part is {kind, value, weight, typed}: a text, a picture's key or an id;
 * `typed` says that it stands in the search box.
 */
export function emptyQuery() {
  return {
    index: null,
    parts: [],
    without: [],
    filters: {}, // column -> {values} | {least, most} | {contains}
    where: "",
    k: K,
    threshold: null,
    percentile: null,
    hubness: false,
    group: false,
    open: null, // id of the picture that is shown large
    lost: 0, // pictures that an address could not carry
  };
}

export function part(kind, value, weight = 1) {
  return { kind, value, weight };
}

/** Parts in the server's order. */
export function ordered(query) {
  return KINDS.flatMap((kind) => query.parts.filter((one) => one.kind === kind));
}

/** The search without one of its parts. */
export function withoutPart(query, removed) {
  return { ...query, parts: query.parts.filter((one) => one !== removed) };
}

/** The same search, but for pictures like one of the index. */
export function likeOnly(query, id) {
  return { ...query, parts: [part("like", id)], without: [], open: null, lost: 0 };
}

/** The search with a part more; one that is there already is not added again. */
export function withPart(query, kind, value) {
  const known = query.parts.some((one) => one.kind === kind && one.value === value);
  const parts = known ? query.parts : [...query.parts, part(kind, value)];
  return { ...query, parts, open: null };
}

/** The body of a request. `picture` gives the base64 text of a picture's key. */
export function request(query, columns, picture, offset) {
  const parts = ordered(query);
  const of = (kind) => parts.filter((one) => one.kind === kind).map((one) => one.value);
  const body = {
    texts: of("text"),
    images: of("picture").map(picture),
    like: of("like"),
    without: query.without,
    weights: parts.map((one) => one.weight),
    k: query.k,
    offset,
    hubness: query.hubness,
    group: query.group,
  };
  const where = condition(query, columns);
  if (query.index !== null) body.index = query.index;
  if (where) body.where = where;
  if (query.threshold !== null) body.threshold = query.threshold;
  if (query.percentile !== null) body.least_percentile = query.percentile;
  return body;
}

/** The address of a search, from "?" on; "" for none. */
export function address(query) {
  const pairs = new URLSearchParams();
  const put = (name, value) => {
    if (value !== null && value !== "" && value !== false) pairs.append(name, String(value));
  };
  const parts = ordered(query);
  put("index", query.index);
  for (const one of parts) if (one.kind === "text") put("q", one.value);
  put("pictures", parts.filter((one) => one.kind === "picture").length + query.lost || null);
  for (const one of parts) if (one.kind === "like") put("like", one.value);
  for (const text of query.without) put("without", text);
  const weights = parts.map((one) => one.weight);
  if (weights.some((weight) => weight !== 1)) put("weights", weights.join());
  for (const [column, filter] of Object.entries(query.filters)) {
    for (const value of filter.values ?? []) {
      if (value === null) put(`none.${column}`, 1);
      else pairs.append(`is.${column}`, value); // "" is a value as well
    }
    for (const name of ["least", "most", "contains"]) {
      put(`${name}.${column}`, filter[name] ?? null);
    }
  }
  put("where", query.where);
  put("k", query.k === K ? null : query.k);
  put("cosine", query.threshold);
  put("percentile", query.percentile);
  put("hubness", query.hubness && 1);
  put("group", query.group && 1);
  put("open", query.open);
  const text = pairs.toString();
  return text ? `?${text}` : "";
}

/** The search of an address. Its dropped pictures are counted in `lost`. */
export function fromAddress(text) {
  const pairs = new URLSearchParams(text);
  const query = emptyQuery();
  query.index = pairs.get("index");
  query.lost = wholeOr(pairs.get("pictures"), 0);
  const lost = Array.from({ length: Math.min(query.lost, 100) }, () => part("lost", null));
  query.parts = [
    ...pairs.getAll("q").filter((one) => one.trim()).map((one) => part("text", one)),
    ...lost,
    ...pairs.getAll("like").filter(isWhole).map((one) => part("like", Number(one))),
  ];
  const weights = (pairs.get("weights") ?? "").split(",").map(Number);
  query.parts.forEach((one, place) => {
    if (weights[place] > 0 && Number.isFinite(weights[place])) one.weight = weights[place];
  });
  query.parts = query.parts.filter((one) => one.kind !== "lost");
  const last = query.parts.findLast((one) => one.kind === "text");
  if (last) last.typed = true;
  query.without = pairs.getAll("without").filter((one) => one.trim());
  readFilters(pairs, query);
  query.where = pairs.get("where") ?? "";
  query.k = Math.max(1, wholeOr(pairs.get("k"), K));
  query.threshold = numberOr(pairs.get("cosine"), null);
  query.percentile = numberOr(pairs.get("percentile"), null);
  query.hubness = pairs.get("hubness") === "1";
  query.group = pairs.get("group") === "1";
  query.open = wholeOr(pairs.get("open"), null);
  return query;
}

function readFilters(pairs, query) {
  for (const [name, value] of pairs) {
    const dot = name.indexOf(".");
    if (dot < 1) continue;
    const filter = { ...query.filters[name.slice(dot + 1)] };
    const what = name.slice(0, dot);
    if (what === "is") filter.values = [...(filter.values ?? []), value];
    else if (what === "none") filter.values = [...(filter.values ?? []), null];
    else if (what === "contains") filter.contains = value;
    else if ((what === "least" || what === "most") && numberOr(value, null) !== null) {
      filter[what] = Number(value);
    } else continue;
    query.filters[name.slice(dot + 1)] = filter;
  }
}

function isWhole(text) {
  return /^\d{1,15}$/.test(text);
}

function wholeOr(text, other) {
  return text !== null && isWhole(text) ? Number(text) : other;
}

function numberOr(text, other) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(number) ? number : other;
}
