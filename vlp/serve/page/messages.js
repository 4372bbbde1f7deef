// What the page says: how far it is, what failed, and what to do.

import { byId, count, element, plural } from "./dom.js";
import { Failure } from "./server.js";

const SAID = 5000; // milliseconds that a short word stays

/** The line above the results. */
export function status(text) {
  byId("status").textContent = text;
}

/** Show that a search is under way; one that adds a page leaves the results as they are. */
export function busy(is, adds = false) {
  byId("bar").hidden = !is;
  byId("grid").setAttribute("aria-busy", String(is));
  if (is && !adds) byId("grid").classList.add("stale"); // until there is an answer
  byId("more").textContent = is && adds ? "Loading …" : "Show more"; // if disabled, loses focus
  if (is && !adds) status("Searching …");
}

/** Tell of a failure, or with null of none any more; `again` is what a second try does. */
export function problem(error, again = null) {
  byId("problem").replaceChildren();
  if (!error) return;
  const expected = error instanceof Failure;
  if (!expected) console.error(error);
  const words = expected ? error.message : `The page itself failed: ${error.message}`;
  const retry = element("button", { type: "button", on: { click: again } }, "Try again");
  byId("problem").append(element("p", {}, words), again && error.again ? retry : "");
  byId("problem").scrollIntoView({ block: "nearest" });
}

/** A short word at the edge of the page, inside a dialog that is open: the rest is inert then. */
export function say(text) {
  const said = byId("said");
  (document.querySelector("dialog[open]") ?? document.body).append(said);
  said.textContent = text;
  said.hidden = false;
  clearTimeout(Number(said.dataset.timer));
  said.dataset.timer = String(setTimeout(() => (said.hidden = true), SAID));
}

/** Notes on a search: the server's, and what a link could not carry. */
export function notes(query, fromServer) {
  const words = [...fromServer];
  if (query.lost) {
    const pictures = plural(query.lost, "picture");
    words.unshift(
      `This search also had ${pictures} from somebody’s computer, which a link cannot carry: ` +
        `drop ${query.lost > 1 ? "them" : "it"} here again to see the same results.`,
    );
  }
  byId("notes").replaceChildren(...words.map((text) => element("li", {}, text)));
}

/** Before the first search. */
export function invite(query, index) {
  const words = query.without.length
    ? "Say also what to see: “without” alone is no search."
    : "Describe what to see, drop or paste a picture, or do both.";
  const title = `Search in ${plural(index.rows, "picture")}`;
  const children = [element("h2", {}, title), element("p", {}, words)];
  if (!index.model) {
    const only = "This index does not know which model made it, so only “like” works: ";
    children.push(element("p", {}, `${only}type #12 for pictures like number 12.`));
  }
  byId("empty").replaceChildren(...children);
}

/** After a search without a hit. `widen` searches without filters and thresholds. */
export function nothingFound(query, searched, widen) {
  const filtered = query.where.trim() !== "" || Object.keys(query.filters).length > 0;
  const least = query.threshold !== null || query.percentile !== null;
  let words = "The index has no pictures.";
  if (searched && least) words = "No picture reaches the least percentile or cosine you ask for.";
  if (!searched && filtered) words = "The filters let no picture through.";
  const again = element("button", { type: "button", on: { click: widen } }, "Search without them");
  const children = [element("h2", {}, "Nothing found"), element("p", {}, words)];
  byId("empty").replaceChildren(...children, filtered || least ? again : "");
}

/** After a search with hits. */
export function found(shown, answer) {
  byId("empty").replaceChildren();
  const seconds = answer.seconds < 0.1 ? "< 0.1" : answer.seconds.toFixed(1);
  const facts = [`${count(shown)} shown`, `${count(answer.searched)} searched`, `${seconds} s`];
  status(shown ? facts.join(" · ") : "");
}
