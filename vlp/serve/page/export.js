// Results as files: JSON as the server gave them, CSV for spreadsheets.

/** What was asked and every hit on the page, as text. */
export function asJson(asked, hits) {
  return `${JSON.stringify({ query: asked, hits }, null, 2)}\n`;
}

/** A table of the hits on the page: rank, id, scores, then the metadata. */
export function asCsv(hits) {
  const columns = [...new Set(hits.flatMap((hit) => Object.keys(hit.metadata)))];
  const head = ["rank", "id", "cosine", "percentile", "score", "duplicates"];
  const own = columns.map((name) => (head.includes(name) ? `metadata.${name}` : name));
  const rows = hits.map((hit, place) => [
    place + 1,
    hit.id,
    hit.cosine,
    hit.percentile,
    hit.score,
    hit.duplicates.join(" "),
    ...columns.map((name) => hit.metadata[name]),
  ]);
  return [[...head, ...own], ...rows].map((row) => `${row.map(cell).join()}\r\n`).join("");
}

/** Offer a text as a file. */
export function download(name, type, text) {
  const uri = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = uri;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(uri), 10_000);
}

/** Texts that a spreadsheet would run as a formula get an apostrophe in front. */
function cell(value) {
  if (value === null || value === undefined) return "";
  const isText = typeof value === "string";
  let text = isText ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
  if (isText && /^[=+\-@\t\r\n]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
