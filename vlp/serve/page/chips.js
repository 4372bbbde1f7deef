// The parts of a query as chips: what it is made of, how much each counts, and away with it.

import { byId, element, icon } from "./dom.js";
import { picture } from "./pictures.js";
import { ordered, withoutPart } from "./query.js";
import { pictureAddress } from "./server.js";

/**
 * Draw the chips. A single text needs none: it stands in the search box.
 * @param {Object} query
 * @param {string} index name, for thumbnails of its pictures
 * @param {function(Object)} change takes the query that results from a click
 */
export function drawChips(query, index, change) {
  const list = byId("chips");
  const focused = list.contains(document.activeElement) ? document.activeElement.id : null;
  const parts = ordered(query);
  const alone = parts.length === 1 && !query.without.length && parts[0].kind === "text";
  const weighted = parts.length > 1 || query.without.length > 0;
  const chips = alone ? [] : parts.map((one) => positive(one, query, index, weighted, change));
  chips.push(...query.without.map((text) => negative(text, query, change)));
  if (chips.length > 1) chips.push(clear(query, change));
  list.replaceChildren(...chips);
  list.hidden = !chips.length;
  if (focused) byId(focused)?.focus();
}

function positive(one, query, index, weighted, change) {
  const words = label(one);
  const children = [thumbnail(one, index), element("span", { class: "words" }, words)];
  if (weighted) children.push(weight(one, words, query, change));
  const chip = element("li", { class: `chip ${one.kind}` }, ...children);
  chip.append(remover(words, () => change(withoutPart(query, one))));
  return chip;
}

function negative(text, query, change) {
  const rest = { ...query, without: query.without.filter((other) => other !== text) };
  return element(
    "li",
    { class: "chip negative" },
    element("span", { class: "words" }, element("b", {}, "without "), text),
    remover(`without ${text}`, () => change(rest)),
  );
}

function clear(query, change) {
  const listener = () => change({ ...query, parts: [], without: [], lost: 0 });
  return element(
    "li",
    {},
    element("button", { type: "button", class: "quiet", on: { click: listener } }, "Clear all"),
  );
}

function label(one) {
  if (one.kind === "text") return one.value;
  if (one.kind === "like") return `like #${one.value}`;
  return picture(one.value)?.name || "picture";
}

function thumbnail(one, index) {
  if (one.kind === "text") return null;
  const like = one.kind === "like";
  const source = like ? pictureAddress(index, one.value, 96) : picture(one.value).uri;
  const image = element("img", { src: source, alt: "", width: 32, height: 32 });
  image.addEventListener("error", () => image.replaceWith(icon("picture")));
  return image;
}

/** The number by which a part is multiplied. */
function weight(one, words, query, change) {
  const input = element("input", {
    id: `weight-${one.kind}-${one.value}`,
    type: "number",
    min: 0.1,
    max: 10,
    step: 0.1,
    value: one.weight,
    inputmode: "decimal",
    "aria-label": `Weight of ${words}`,
    title: "Weight: how much this part counts",
  });
  input.addEventListener("change", () => {
    const value = Number(input.value);
    if (!(value > 0) || !Number.isFinite(value)) {
      input.value = one.weight;
      return;
    }
    const parts = query.parts.map((part) => (part === one ? { ...one, weight: value } : part));
    change({ ...query, parts });
  });
  return element("label", { class: "weight" }, "×", input);
}

function remover(words, listener) {
  const attributes = { type: "button", class: "remove", "aria-label": `Remove ${words}` };
  return element("button", { ...attributes, on: { click: listener } }, icon("close"));
}
