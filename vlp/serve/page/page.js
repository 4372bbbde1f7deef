// Starts the page and connects its buttons.

import { listenToPictures } from "./bring.js";
import { byId } from "./dom.js";
import { asCsv, asJson, download } from "./export.js";
import { listenToKeys } from "./keyboard.js";
import { problem, say, status } from "./messages.js";
import { fromAddress } from "./query.js";
import { Failure, about } from "./server.js";
import { Session } from "./session.js";

async function start() {
  status("Loading …");
  let known;
  try {
    known = await about();
    if (!known.indices.length) throw new Failure("The server has no index to search in.");
  } catch (error) {
    status("");
    problem(error, start);
    return;
  }
  const early = byId("text").value;
  const session = new Session(known);
  connect(session);
  session.restore(history.state?.query ?? fromAddress(location.search));
  byId("text").value ||= early; // typed while the page was loading
}

function connect(session) {
  const { grid, lightbox } = session;
  byId("search").addEventListener("submit", () => session.submit());
  byId("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.shiftKey || event.isComposing) return;
    event.preventDefault();
    next(session);
  });
  byId("add-text").addEventListener("click", () => next(session));
  byId("more").addEventListener("click", () => session.more());
  addEventListener("popstate", ({ state }) => session.moved(state));
  listenToPictures({
    files: (files) => session.take(files),
    like: (id) => session.add(id),
    say,
  });
  listenToKeys({
    grid,
    lightbox,
    step: (by) => session.step(by),
    like: (hit) => session.like(hit),
    add: (hit) => session.add(hit.id),
    more: () => session.more(),
    current: () => session.current,
  });
  connectTools(session);
}

function next(session) {
  if (byId("text").value.trim()) session.submit(true);
  byId("text").focus();
}

function connectTools(session) {
  byId("save-json").addEventListener("click", () => {
    const { images, ...asked } = session.asked;
    const query = { ...asked, images: images.length };
    download("results.json", "application/json", asJson(query, session.hits));
  });
  byId("save-csv").addEventListener("click", () => {
    download("results.csv", "text/csv;charset=utf-8", asCsv(session.hits));
  });
  byId("share").addEventListener("click", () => share(session));
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("results").focus();
  });
}

async function share(session) {
  const brought = session.query.parts.some((one) => one.kind === "picture");
  const but = brought ? " The pictures from your computer are not part of it." : "";
  try {
    await navigator.clipboard.writeText(location.href);
    say(`Link copied.${but}`);
  } catch {
    say(`This browser does not let the page copy: take the link from the address bar.${but}`);
  }
}

byId("search").addEventListener("submit", (event) => event.preventDefault());
start();
