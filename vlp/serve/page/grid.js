// The results as rows of pictures of one height, walked through by arrow keys.

import { byId, element, icon } from "./dom.js";
import { pictureAddress } from "./server.js";

const SHARP = 1.25; // device pixels per CSS pixel from which larger thumbnails are worth it
const RATIOS = [0.5, 2.4]; // width / height of a tile; what is slimmer gets margins

/** Words for a picture: its caption, else the name of its file. */
export function wordsOf(hit) {
  const path = String(hit.metadata.image_path ?? "");
  return String(hit.metadata.caption ?? "") || path.split("/").pop() || `picture ${hit.id}`;
}

/** "99.8 %", "0.312". */
export function percent(hit) {
  return hit.percentile === null ? null : `${Math.floor(hit.percentile * 10 + 1e-4) / 10} %`;
}

export const PERCENT_MEANS =
  "Percentile: the share of generic queries that fit this picture worse than yours.";

/** The list of hits. `on` has listeners `open(place)` and `like(hit)`, and `more()`. */
export class Grid {
  constructor(on) {
    this.on = on;
    this.list = byId("grid");
    this.tiles = [];
  }

  /** Show hits of an index; with `keep`, behind those that are there. */
  show(index, hits, keep) {
    if (!keep) {
      this.tiles = [];
      this.list.replaceChildren();
    }
    const first = this.tiles.length;
    const tiles = hits.map((hit, place) => this.tile(index, hit, first + place));
    this.tiles.push(...tiles);
    this.list.append(...tiles);
    this.list.classList.remove("stale");
    if (!keep && tiles.length) this.enter(0);
  }

  /** Place of the picture that has the focus, or null. */
  get place() {
    const tile = document.activeElement?.closest?.(".tile");
    const place = this.tiles.indexOf(tile);
    return place < 0 ? null : place;
  }

  /** Give a picture the focus. */
  focus(place) {
    if (!this.tiles[place]) return;
    this.enter(place);
    const button = this.tiles[place].querySelector(".picture");
    button.focus({ preventScroll: true });
    this.tiles[place].scrollIntoView({ block: "nearest" });
  }

  /** Move the focus by an arrow key's direction; past the last picture, ask for more. */
  move(right, down) {
    const place = this.place;
    if (place === null) return this.focus(0);
    const target = down ? this.inNextRow(place, down) : place + right;
    if (target >= this.tiles.length) return this.on.more();
    return this.focus(Math.max(0, target));
  }

  /** The one tile that the tab key reaches. */
  enter(place) {
    this.list.querySelector('.picture[tabindex="0"]')?.setAttribute("tabindex", "-1");
    this.tiles[place].querySelector(".picture").setAttribute("tabindex", "0");
  }

  /** The tile below or above whose middle is nearest. */
  inNextRow(place, down) {
    const own = this.tiles[place].getBoundingClientRect();
    const middle = own.left + own.width / 2;
    let best = down > 0 ? this.tiles.length : place;
    let row = null;
    let least = Infinity;
    for (let at = place + down; at >= 0 && at < this.tiles.length; at += down) {
      const box = this.tiles[at].getBoundingClientRect();
      if (Math.abs(box.top - own.top) < 1) continue;
      if (row !== null && Math.abs(box.top - row) >= 1) break;
      row = box.top;
      const distance = Math.abs(box.left + box.width / 2 - middle);
      if (distance < least) [best, least] = [at, distance];
    }
    return best;
  }

  tile(index, hit, place) {
    const words = wordsOf(hit);
    const image = this.image(index, hit, words);
    const spoken = [`${place + 1}`, words, percent(hit)].filter(Boolean).join(", ");
    const open = element(
      "button",
      {
        type: "button",
        class: "picture",
        tabindex: -1,
        "aria-label": spoken,
        on: { click: () => this.on.open(place), focus: () => this.enter(place) },
      },
      image,
    );
    const tile = element("li", { class: "tile" }, open);
    tile.append(this.liker(hit, words), caption(hit, words));
    const others = hit.duplicates.length;
    if (others) {
      const title = `Stands for ${others} more near-duplicate${others > 1 ? "s" : ""}`;
      open.append(element("span", { class: "badge", title }, `+${others}`));
    }
    setRatio(tile, Number(hit.metadata.width) / Number(hit.metadata.height));
    image.addEventListener("load", () => setRatio(tile, image.naturalWidth / image.naturalHeight));
    return tile;
  }

  image(index, hit, words) {
    if (index.modality === "text") return element("span", { class: "said" }, words);
    const side = devicePixelRatio >= SHARP ? 512 : 320;
    const image = element("img", {
      src: pictureAddress(index.name, hit.id, side),
      alt: words,
      loading: "lazy",
      decoding: "async",
    });
    image.addEventListener("error", () => {
      const note = element("span", {}, "cannot be shown");
      image.replaceWith(element("span", { class: "gone" }, icon("picture"), note));
    });
    image.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("application/x-vlp-id", String(hit.id));
    });
    return image;
  }

  liker(hit, words) {
    const attributes = {
      type: "button",
      class: "like",
      tabindex: -1,
      title: "More like this (m)",
      "aria-label": `More like ${words}`,
    };
    attributes.on = { click: () => this.on.like(hit) };
    return element("button", attributes, icon("like"));
  }
}

function caption(hit, words) {
  const cosine = hit.cosine.toFixed(3);
  const scores = element("div", { class: "scores" });
  if (percent(hit)) {
    scores.append(element("b", { title: PERCENT_MEANS }, percent(hit)));
    scores.append(element("span", { title: "Cosine of query and picture" }, cosine));
  } else {
    scores.append(element("b", { title: "Cosine of query and picture" }, cosine));
  }
  return element("div", { class: "under" }, scores, element("p", { title: words }, words));
}

function setRatio(tile, ratio) {
  const known = Number.isFinite(ratio) && ratio > 0 ? ratio : 1;
  tile.style.setProperty("--ratio", Math.min(RATIOS[1], Math.max(RATIOS[0], known)).toFixed(3));
}
