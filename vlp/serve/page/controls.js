// The boxes and options around the results.

import { Filters } from "./filters.js";
import { byId, element, plural } from "./dom.js";
import * as queries from "./query.js";

/** Controls of a search. `change(query => query)` is called when the user changes one. */
export class Controls {
  constructor(change) {
    this.change = change;
    this.filters = new Filters((filters) => change((query) => ({ ...query, filters })));
    this.index = null;
    this.where = ""; // the condition written by hand that is searched with
    this.listen();
  }

  /** Show a search in an index. */
  show(query, index, limits) {
    if (this.index !== index) this.filters.build(index.columns);
    this.index = index;
    this.filters.show(query);
    byId("text").value = query.parts.find((one) => one.typed)?.value ?? "";
    byId("without").value = "";
    byId("index").value = index.name;
    const model = index.model?.name.split("/").pop().replace(/\.json$/, "");
    const facts = [plural(index.rows, "picture"), model];
    byId("index-facts").textContent = facts.filter(Boolean).join(" · ");
    this.where = query.where;
    byId("where").value = query.where;
    byId("where-part").open ||= query.where !== "";
    byId("k").value = query.k;
    byId("k").max = limits.k;
    byId("threshold").value = query.threshold ?? "";
    byId("percentile").value = query.percentile ?? 0;
    showPercentile();
    byId("percentile-part").hidden = !index.background;
    byId("hubness-part").hidden = !index.background;
    byId("hubness").checked = query.hubness;
    byId("group").checked = query.group;
  }

  /** Offer the server's indices. */
  offer(indices) {
    const names = indices.map((one) => element("option", { value: one.name }, one.name));
    byId("index").replaceChildren(...names);
    byId("index-label").hidden = names.length < 2;
  }

  /** A search with what stands in the boxes; `next`: the text's box is for another one then. */
  withBoxes(query, next = false) {
    const text = byId("text").value.trim();
    const without = byId("without").value.trim();
    const id = /^#(\d{1,15})$/.exec(text);
    const parts = withText(query.parts, id ? "" : text, next);
    let made = { ...query, parts };
    if (id) made = queries.withPart(made, "like", Number(id[1]));
    if (without && !made.without.includes(without)) made.without = [...made.without, without];
    return made;
  }

  listen() {
    const set = (name, value) => this.change((query) => ({ ...query, [name]: value }));
    const listen = (id, listener) => byId(id).addEventListener("change", listener);
    listen("index", (event) => {
      const index = event.target.value;
      this.change((query) => ({ ...inOther(query), index }));
    });
    listen("k", ({ target }) => set("k", Math.max(1, Math.round(target.value) || queries.K)));
    listen("threshold", ({ target }) => set("threshold", numberOrNull(target)));
    listen("percentile", ({ target }) => set("percentile", Number(target.value) || null));
    listen("hubness", ({ target }) => set("hubness", target.checked));
    listen("group", ({ target }) => set("group", target.checked));
    byId("percentile").addEventListener("input", showPercentile);
    byId("where").addEventListener("blur", ({ target }) => {
      // not "change", which browsers leave out when Enter was taken in between
      if (target.value.trim() !== this.where) set("where", target.value.trim());
    });
    byId("where").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      set("where", event.target.value.trim());
    });
    byId("no-filters").addEventListener("click", () => {
      this.change((query) => ({ ...query, filters: {}, where: "" }));
    });
    byId("panel-toggle").addEventListener("click", () => {
      const open = byId("panel").classList.toggle("open");
      byId("panel-toggle").setAttribute("aria-expanded", String(open));
    });
  }
}

/** What of a search makes sense in another index: neither ids nor filters. */
function inOther(query) {
  const parts = query.parts.filter((one) => one.kind !== "like");
  return { ...query, parts, filters: {}, where: "" };
}

/** The parts when the text box says `text`; "" for nothing. */
function withText(parts, text, next) {
  const old = parts.find((one) => one.typed);
  if (!text) return parts.filter((one) => one !== old);
  const made = { ...(old ?? queries.part("text", text)), value: text, typed: !next };
  const same = (one) => one.kind === "text" && one.value === text;
  const others = parts.filter((one) => one !== old && !same(one));
  return [...others, made];
}

function numberOrNull(input) {
  return input.value === "" ? null : Number(input.value);
}

function showPercentile() {
  const value = Number(byId("percentile").value);
  byId("percentile-value").textContent = value ? `${value} %` : "any";
}
