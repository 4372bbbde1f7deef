// What the page asks the server, and failures in words for people.

/** A failure that the user is told of. `again`: whether trying again may help. */
export class Failure extends Error {
  constructor(message, again = false) {
    super(message);
    this.again = again;
  }
}

/** What may be searched, and within which limits. */
export function about() {
  return call("api/about", {});
}

/** One page of results. */
export function search(body, signal) {
  return call("api/search", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** Address of a picture of an index, at most `side` pixels large. */
export function pictureAddress(index, id, side) {
  return `api/picture/${encodeURIComponent(index)}/${id}?side=${side}`;
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer. Is “vlp serve” still running?", true);
  }
  if (response.ok) {
    try {
      return await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server’s answer was cut off.", true);
    }
  }
  throw await refusal(response);
}

async function refusal(response) {
  let said = "";
  try {
    said = (await response.json()).error ?? "";
  } catch {
    // a proxy's own page: its text is not for people
  }
  const message = sentence(said) || `The server refused, with status ${response.status}.`;
  if (response.status === 429) {
    const seconds = Number(response.headers.get("Retry-After"));
    const wait = seconds > 0 ? `Wait ${seconds} seconds.` : "Wait a minute.";
    return new Failure(said ? message : `Too many searches in a short time. ${wait}`, true);
  }
  if (response.status === 413 && !said) {
    return new Failure("This is larger than the server accepts. Try a smaller picture.");
  }
  return new Failure(message, response.status >= 500);
}

/** With a capital and a full stop; servers' errors have neither. */
function sentence(text) {
  const whole = text.trim();
  if (!whole) return "";
  const first = /^[a-z]+ /.test(whole) ? whole[0].toUpperCase() + whole.slice(1) : whole;
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
