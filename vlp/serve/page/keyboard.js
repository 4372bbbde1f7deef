// Keys that work anywhere on the page.

import { byId } from "./dom.js";

const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
  k: [-1, 0],
  j: [1, 0],
};

/**
 * Listen. `on` has `grid`, `lightbox`, and listeners `step(by)`, `like(hit)`, `add(hit)`, `more()`
 * and `current()`, the hit that has the focus or is shown large.
 */
export function listenToKeys(on) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target)) {
      leaveBox(event, on.grid);
      return;
    }
    const action = actionOf(event.key, on);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function actionOf(key, on) {
  if (byId("help").open) return null;
  const large = on.lightbox.isOpen;
  if (key in ARROWS) {
    const [right, down] = ARROWS[key];
    if (large) return right ? () => on.step(right) : null;
    return on.grid.tiles.length && mayMove(key, on.grid) ? () => on.grid.move(right, down) : null;
  }
  const hit = on.current();
  if (key === "m" && hit) return () => on.like(hit);
  if (key === "a" && hit) return () => on.add(hit);
  if (large) return null;
  if (key === "n") return on.more;
  if (key === "/") return toTheBox;
  if (key === "?") return () => byId("help").showModal();
  return null;
}

function toTheBox() {
  byId("text").focus();
  byId("text").select();
}

/** Arrows scroll the page as usual until a picture has the focus. */
function mayMove(key, grid) {
  return key.length === 1 || grid.place !== null;
}

function leaveBox(event, grid) {
  if (event.target.id !== "text" && event.target.id !== "without") return;
  if (event.key === "ArrowDown" && grid.tiles.length) {
    event.preventDefault();
    grid.focus(0);
  } else if (event.key === "Escape") {
    event.target.blur();
  }
}

function isTyping(target) {
  return target.matches?.("textarea, select, input:not([type=checkbox])") ?? false;
}
