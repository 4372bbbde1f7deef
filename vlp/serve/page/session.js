// One search at a time: asks the server, shows what comes, and keeps the address in step.

import { drawChips } from "./chips.js";
import { Controls } from "./controls.js";
import { byId } from "./dom.js";
import { Grid } from "./grid.js";
import { Lightbox } from "./lightbox.js";
import * as messages from "./messages.js";
import { keep, picture } from "./pictures.js";
import * as queries from "./query.js";
import { search } from "./server.js";

const SLOW = 2500; // milliseconds after which a search says why it may take long

/** A visit to the page. */
export class Session {
  constructor(about) {
    this.about = about;
    this.query = queries.emptyQuery();
    this.hits = [];
    this.hasMore = false;
    this.asked = null; // body of the request that the hits answer
    this.running = null; // AbortController of the search under way
    this.controls = new Controls((change) => this.run(change(this.controls.withBoxes(this.query))));
    this.grid = new Grid({
      open: (place) => this.open(place),
      like: (hit) => this.like(hit),
      more: () => this.more(),
    });
    this.lightbox = new Lightbox({
      close: () => this.close(),
      step: (by) => this.step(by),
      like: (hit) => this.like(hit),
      add: (hit) => this.add(hit.id),
      say: messages.say,
    });
    this.controls.offer(about.indices);
  }

  /** The index that is searched. */
  get index() {
    const { indices } = this.about;
    return indices.find((one) => one.name === this.query.index) ?? indices[0];
  }

  /** The hit that has the focus or is shown large, or undefined. */
  get current() {
    return this.lightbox.isOpen ? this.lightbox.hit : this.hits[this.grid.place];
  }

  /** Take up a search from the address or the history, where pictures may be gone. */
  restore(query) {
    const gone = query.parts.filter((one) => one.kind === "picture" && !picture(one.value));
    const parts = query.parts.filter((one) => !gone.includes(one));
    return this.run({ ...query, parts, lost: query.lost + gone.length }, "replace");
  }

  /** Do a search; `how` it enters the history: "push" or "replace". */
  async run(query, how = "push") {
    this.query = this.possible(query);
    this.controls.show(this.query, this.index, this.about.limits);
    drawChips(this.query, this.index.name, (changed) => this.run(changed));
    this.remember(how);
    this.running?.abort();
    this.running = null;
    this.lightbox.hide();
    if (!this.query.parts.length) {
      this.clear();
      return;
    }
    await this.ask(0);
    const place = this.hits.findIndex((hit) => hit.id === this.query.open);
    if (place >= 0) this.show(place);
  }

  /** Search for what stands in the boxes. */
  submit(next = false) {
    const query = this.controls.withBoxes(this.query, next);
    if (!query.parts.length && !query.without.length) messages.say("Describe what to see first.");
    this.run({ ...query, open: null });
  }

  /** Search with pictures of the user's too. */
  async take(files) {
    if (!files.length) return;
    let query = this.controls.withBoxes(this.query);
    query = { ...query, open: null, lost: Math.max(0, query.lost - files.length) };
    messages.problem(null);
    try {
      for (const file of files) {
        const key = await keep(file, this.about.limits.upload_bytes);
        query = queries.withPart(query, "picture", key);
      }
    } catch (error) {
      messages.problem(error);
      return;
    }
    this.run(query);
  }

  /** More like a hit, and nothing else. */
  like(hit) {
    this.run(queries.likeOnly(this.query, hit.id));
    scrollTo({ top: 0 });
  }

  /** A picture of the index as a part more. */
  add(id) {
    this.run(queries.withPart(this.controls.withBoxes(this.query), "like", id));
    scrollTo({ top: 0 });
  }

  /** The next page. */
  async more() {
    if (this.hasMore && !this.running) await this.ask(this.hits.length);
  }

  open(place) {
    this.query = { ...this.query, open: this.hits[place].id };
    this.remember("push", true);
    this.show(place);
  }

  show(place) {
    this.lightbox.show(this.index, this.hits, place);
  }

  step(by) {
    const place = this.hits.findIndex((hit) => hit.id === this.query.open) + by;
    if (!this.hits[place]) return;
    this.query = { ...this.query, open: this.hits[place].id };
    this.show(place);
    this.remember("replace", history.state?.large); // last: Safari refuses many in a short time
  }

  /** Close the large picture; as the back button does it too, go back where opening went on. */
  close() {
    if (history.state?.large) {
      history.back();
      return;
    }
    this.hide();
    this.remember("replace");
  }

  hide() {
    const place = this.hits.findIndex((hit) => hit.id === this.query.open);
    this.query = { ...this.query, open: null };
    this.lightbox.hide();
    if (place >= 0) this.grid.focus(place);
  }

  /** The history moved. */
  moved(state) {
    const query = state?.query ?? queries.fromAddress(location.search);
    const search = (one) => JSON.stringify({ ...one, open: null });
    if (search(query) !== search(this.query)) {
      this.restore(query);
    } else if (query.open === null) {
      this.hide();
    } else {
      this.query = query;
      const place = this.hits.findIndex((hit) => hit.id === query.open);
      if (place >= 0) this.show(place);
    }
  }

  /** The search as this server can do it. */
  possible(query) {
    const { indices, limits } = this.about;
    const known = indices.some((one) => one.name === query.index);
    if (query.index && !known) messages.say(`There is no index “${query.index}” here.`);
    return { ...query, index: known ? query.index : null, k: Math.min(query.k, limits.k) };
  }

  async ask(offset) {
    const running = new AbortController();
    this.running = running;
    const base64 = (key) => picture(key).base64;
    const body = queries.request(this.query, this.index.columns, base64, offset);
    messages.busy(true, offset > 0);
    const slow = setTimeout(() => {
      messages.status("Still searching. Large indices and busy servers take a while …");
    }, SLOW);
    try {
      const answer = await search(body, running.signal);
      if (this.running === running) this.answered(answer, body);
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error, () => this.ask(offset));
    } finally {
      clearTimeout(slow);
      if (this.running === running) {
        this.running = null;
        messages.busy(false);
      }
    }
  }

  answered(answer, body) {
    const shown = body.offset ? this.hits.length : 0;
    const goesOn = this.grid.place !== null || document.activeElement === byId("more");
    this.hits = [...this.hits.slice(0, shown), ...answer.hits];
    this.hasMore = answer.more;
    this.asked = body;
    messages.problem(null);
    messages.notes(this.query, answer.notes);
    messages.found(this.hits.length, answer);
    if (!this.hits.length) messages.nothingFound(this.query, answer.searched, () => this.widen());
    this.grid.show(this.index, answer.hits, shown > 0);
    this.tools();
    if (shown && goesOn) this.grid.focus(shown);
  }

  failed(error, again) {
    messages.status("");
    messages.problem(error, again);
  }

  /** Before the first search, and after the last part was taken away. */
  clear() {
    Object.assign(this, { hits: [], hasMore: false, asked: null });
    messages.busy(false);
    messages.problem(null);
    messages.status("");
    messages.notes(this.query, []);
    messages.invite(this.query, this.index);
    this.grid.show(this.index, [], false);
    this.tools();
  }

  widen() {
    this.run({ ...this.query, filters: {}, where: "", threshold: null, percentile: null });
  }

  tools() {
    byId("tools").hidden = !this.hits.length;
    byId("more").hidden = !this.hasMore;
  }

  remember(how, large = false) {
    const address = queries.address(this.query) || location.pathname;
    const brought = this.query.parts.some((one) => one.kind === "picture");
    const same = address === (location.search || location.pathname) && !brought;
    const state = { large, query: this.query };
    if (how === "push" && !same) history.pushState(state, "", address);
    else history.replaceState(state, "", address);
    const text = queries.ordered(this.query).find((one) => one.kind === "text")?.value;
    document.title = text ? `${text} – Picture search` : "Picture search";
  }
}
