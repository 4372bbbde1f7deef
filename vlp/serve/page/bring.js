// Ways for a picture onto the page: dropped anywhere, pasted, or chosen.

import { byId } from "./dom.js";

const OWN = "application/x-vlp-id"; // a picture of the results, dragged

/** Listen. `on` has `files(files)`, `like(id)` and `say(text)`. */
export function listenToPictures(on) {
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", ({ target }) => {
    on.files([...target.files]);
    target.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const typing = event.target.matches?.("input, textarea");
    // word processors put a picture of the text beside the text
    if (!files.length || (typing && event.clipboardData.getData("text/plain"))) return;
    event.preventDefault();
    on.files(files);
  });
  listenToDrops(on);
}

function listenToDrops(on) {
  let inside = 0; // elements entered and not yet left
  const show = (is) => (byId("drop").hidden = !is);
  const taken = (event) => {
    const types = event.dataTransfer?.types ?? [];
    return ["Files", OWN, "text/uri-list"].some((type) => types.includes(type));
  };
  document.addEventListener("dragenter", (event) => {
    inside += 1;
    if (taken(event)) show(true);
  });
  document.addEventListener("dragleave", () => {
    inside -= 1;
    if (inside <= 0) show(false);
  });
  document.addEventListener("dragover", (event) => {
    if (taken(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    inside = 0;
    show(false);
    if (!taken(event)) return;
    event.preventDefault();
    dropped(event.dataTransfer, on);
  });
}

function dropped(transfer, on) {
  const id = transfer.getData(OWN);
  if (id) {
    on.like(Number(id));
  } else if (transfer.files.length) {
    on.files([...transfer.files]);
  } else {
    on.say(
      "The other page handed over an address, not the picture. " +
        "Copy the picture there and paste it here, or save it first.",
    );
  }
}
