// One picture large, with its metadata and what can be done with it.

import { byId, element, icon } from "./dom.js";
import { PERCENT_MEANS, percent, wordsOf } from "./grid.js";
import { pictureAddress } from "./server.js";

const SIDE = 1280; // pixels
const FULL = 2048;
const MAGNIFIED = 4; // times at most that a small picture is shown larger than it is
const SWIPE = 50; // CSS pixels

/** The dialog. `on` has `close()`, `step(by)`, `like(hit)`, `add(hit)` and `say(text)`. */
export class Lightbox {
  constructor(on) {
    this.on = on;
    this.dialog = byId("lightbox");
    this.hit = null;
    byId("lightbox-close").addEventListener("click", () => on.close());
    byId("lightbox-previous").addEventListener("click", () => on.step(-1));
    byId("lightbox-next").addEventListener("click", () => on.step(1));
    byId("lightbox-like").addEventListener("click", () => on.like(this.hit));
    byId("lightbox-add").addEventListener("click", () => on.add(this.hit));
    byId("lightbox-copy").addEventListener("click", () => this.copy());
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      on.close();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) on.close();
    });
    this.swipes();
  }

  get isOpen() {
    return this.dialog.open;
  }

  /** Show a hit. */
  show(index, hits, place) {
    const hit = hits[place];
    this.hit = hit;
    const words = wordsOf(hit);
    byId("lightbox-stage").replaceChildren(large(index, hit, words));
    byId("lightbox-title").textContent = words;
    byId("lightbox-place").textContent = `${place + 1} of ${hits.length} shown`;
    byId("lightbox-scores").replaceChildren(...scores(hit));
    byId("lightbox-metadata").replaceChildren(...rows(hit));
    byId("lightbox-full").href = pictureAddress(index.name, hit.id, FULL);
    byId("lightbox-copy").hidden = !hit.metadata.image_path;
    byId("lightbox-previous").disabled = place === 0;
    byId("lightbox-next").disabled = place === hits.length - 1;
    this.duplicates(index, hit);
    if (!this.dialog.open) this.dialog.showModal();
  }

  hide() {
    if (this.dialog.open) this.dialog.close();
    byId("lightbox-stage").replaceChildren();
  }

  duplicates(index, hit) {
    const images = hit.duplicates.map((id) => {
      const source = pictureAddress(index.name, id, 128);
      const image = element("img", { src: source, alt: `picture #${id}` });
      const href = pictureAddress(index.name, id, FULL);
      return element("a", { href, target: "_blank", rel: "noopener", title: `#${id}` }, image);
    });
    byId("lightbox-duplicates").replaceChildren(...images);
    byId("lightbox-duplicates-part").hidden = !images.length;
  }

  /** Copy the file's path; browsers allow it on secure pages only, so else select it. */
  async copy() {
    const path = String(this.hit.metadata.image_path);
    try {
      await navigator.clipboard.writeText(path);
      this.on.say("Path copied.");
    } catch {
      const cell = this.dialog.querySelector('[data-column="image_path"]');
      getSelection().selectAllChildren(cell);
      this.on.say("This browser does not let the page copy: the path is selected, press Ctrl+C.");
    }
  }

  swipes() {
    let start = null;
    const stage = byId("lightbox-stage");
    stage.addEventListener("touchstart", (event) => {
      start = event.touches.length === 1 ? event.touches[0].clientX : null;
    }, { passive: true });
    stage.addEventListener("touchend", (event) => {
      if (start === null) return;
      const moved = event.changedTouches[0].clientX - start;
      if (Math.abs(moved) > SWIPE) this.on.step(moved < 0 ? 1 : -1);
    }, { passive: true });
  }
}

function large(index, hit, words) {
  if (index.modality === "text") return element("p", { class: "said" }, words);
  const image = element("img", { src: pictureAddress(index.name, hit.id, SIDE), alt: words });
  image.addEventListener("load", () => {
    image.style.maxWidth = `${MAGNIFIED * image.naturalWidth}px`;
    image.style.maxHeight = `${MAGNIFIED * image.naturalHeight}px`;
  });
  image.addEventListener("error", () => {
    const path = String(hit.metadata.image_path ?? "");
    const note = element("p", {}, "This picture cannot be shown: its file is gone or unreadable.");
    const where = element("p", { class: "soft" }, path);
    image.replaceWith(element("div", { class: "gone" }, icon("picture"), note, where));
  });
  return image;
}

function scores(hit) {
  const pairs = [["cosine", hit.cosine.toFixed(4), "Cosine of query and picture"]];
  if (percent(hit)) pairs.unshift(["percentile", percent(hit), PERCENT_MEANS]);
  if (Math.abs(hit.score - hit.cosine) > 1e-6) {
    const means = "What the order goes by: the cosine, corrected for pictures that fit everything";
    pairs.push(["score", hit.score.toFixed(4), means]);
  }
  return pairs.map(([name, value, title]) =>
    element("div", { title }, element("dt", {}, name), element("dd", {}, value)),
  );
}

function rows(hit) {
  const pairs = [["id", hit.id], ...Object.entries(hit.metadata)];
  return pairs
    .filter(([, value]) => value !== null && value !== "" && !(value?.length === 0))
    .map(([name, value]) => {
      const text = typeof value === "object" ? JSON.stringify(value) : String(value);
      const cell = element("td", { "data-column": name }, text);
      return element("tr", {}, element("th", { scope: "row" }, name), cell);
    });
}
