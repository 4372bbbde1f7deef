// The panel of filters: one control for each column of the metadata, made from what the index has.

import { condition, kindOf } from "./conditions.js";
import { byId, element } from "./dom.js";

const TECHNICAL = new Set(["id", "sha256", "mark", "copies"]);

/** Controls for the columns; each change of one gives `change` a new `filters`. */
export class Filters {
  constructor(change) {
    this.change = change;
    this.columns = [];
    this.filters = {};
    this.controls = []; // functions that show a query's filters
  }

  /** Make the controls of an index. */
  build(columns) {
    this.columns = columns;
    this.controls = [];
    const shown = columns.filter((column) => !TECHNICAL.has(column.name) && kindOf(column));
    const order = ["choice", "number", "words"];
    shown.sort((one, other) => order.indexOf(kindOf(one)) - order.indexOf(kindOf(other)));
    byId("columns").replaceChildren(...shown.map((column) => this.column(column)));
  }

  /** Show a query's filters. */
  show(query) {
    this.filters = query.filters;
    for (const control of this.controls) control(query.filters);
    const where = condition(query, this.columns);
    const filters = Object.keys(query.filters).length + (query.where.trim() ? 1 : 0);
    byId("condition").textContent = where;
    byId("condition-line").hidden = !where;
    byId("no-filters").hidden = !filters;
    const others = [query.threshold, query.percentile].filter((value) => value !== null).length;
    const all = filters + others + query.hubness + query.group;
    byId("panel-count").textContent = all ? `(${all})` : "";
  }

  column(column) {
    const kind = kindOf(column);
    const summary = element("summary", {}, column.name);
    const details = element("details", { class: "column" }, summary);
    const make = { choice: this.choice, number: this.range, words: this.words }[kind];
    details.append(make.call(this, column));
    details.open = kind === "choice" && column.values.length <= 6;
    this.controls.push((filters) => {
      details.classList.toggle("active", column.name in filters);
      if (column.name in filters) details.open = true;
    });
    return details;
  }

  choice(column) {
    const boxes = column.values.map((value) => {
      const key = value === null ? null : String(value);
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => {
        const before = this.filters[column.name]?.values ?? [];
        const values = box.checked ? [...before, key] : before.filter((one) => one !== key);
        this.set(column, values.length ? { values } : null);
      });
      this.controls.push((filters) => {
        box.checked = (filters[column.name]?.values ?? []).includes(key);
      });
      const words = value === null ? "(none)" : String(value) || "(empty)";
      return element("label", { class: "check" }, box, element("span", {}, words));
    });
    return element("div", { class: "choices", role: "group", "aria-label": column.name }, ...boxes);
  }

  range(column) {
    const input = (name, words) => {
      const made = element("input", {
        type: "number",
        step: "any",
        placeholder: words,
        "aria-label": `${column.name} ${words}`,
      });
      made.addEventListener("change", () => {
        const filter = { ...this.filters[column.name] };
        if (made.value === "") delete filter[name];
        else filter[name] = Number(made.value);
        this.set(column, Object.keys(filter).length ? filter : null);
      });
      this.controls.push((filters) => {
        made.value = filters[column.name]?.[name] ?? "";
      });
      return made;
    };
    const dash = element("span", { "aria-hidden": "true" }, "–");
    return element("div", { class: "range" }, input("least", "from"), dash, input("most", "to"));
  }

  words(column) {
    const input = element("input", {
      type: "text",
      placeholder: "contains …",
      "aria-label": `${column.name} contains`,
    });
    input.addEventListener("change", () => {
      this.set(column, input.value ? { contains: input.value } : null);
    });
    this.controls.push((filters) => {
      input.value = filters[column.name]?.contains ?? "";
    });
    return element("div", {}, input);
  }

  set(column, filter) {
    const filters = { ...this.filters };
    delete filters[column.name];
    if (filter) filters[column.name] = filter;
    this.change(filters);
  }
}
