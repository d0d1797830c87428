// Editing in place: a click on a value borrows its field from the form of all fields, which works by itself.
// In the form for many records, whoever types into a field means it to change.
const form = document.getElementById("edit-form");
let open;

/** Puts the field's input where its value stands; Enter sends it alone, Escape gives the value back. */
function edit(place) {
  close();
  const entry = form.querySelector(`[data-entry="${CSS.escape(place.dataset.field)}"]`);
  const inline = document.createElement("form");
  inline.method = "post";
  inline.action = form.action;
  inline.className = "inline-edit";
  const csrf = form.querySelector("[name=csrf]").cloneNode();
  const copy = entry.cloneNode(true);
  const input = copy.querySelector(".input");
  input.value = entry.querySelector(".input").value;
  for (const part of copy.querySelectorAll("[id]")) part.id = `inline-${part.id}`;
  copy.querySelector("label").htmlFor = input.id;
  copy.classList.add("is-bare");
  inline.append(csrf, copy, button("Save", "button is-main", "submit"), button("Cancel", "button is-quiet", "button"));
  inline.lastElementChild.addEventListener("click", close);
  inline.addEventListener("keydown", onKey);
  const shown = [...place.childNodes];
  place.replaceChildren(inline);
  open = { place, shown };
  input.focus();
  input.select?.();
}

function close() {
  if (!open) return;
  const { place, shown } = open;
  open = undefined;
  place.replaceChildren(...shown);
  place.querySelector("button")?.focus();
}

function onKey(event) {
  if (event.key === "Escape") {
    event.preventDefault();
    close();
  } else if (event.key === "Enter" && event.target.matches("select")) {
    event.preventDefault();
    event.currentTarget.requestSubmit();
  } else if (event.key === "Enter" && event.target.matches("textarea") && (event.metaKey || event.ctrlKey)) {
    event.currentTarget.requestSubmit();
  }
}

function button(words, classes, type) {
  const made = document.createElement("button");
  made.textContent = words;
  made.className = classes;
  made.type = type;
  return made;
}

for (const place of document.querySelectorAll("[data-field]")) {
  const label = place.previousElementSibling.textContent;
  const opener = button("Edit", "button is-quiet edit-opener", "button");
  opener.setAttribute("aria-label", `Edit ${label}`);
  place.append(opener);
  place.addEventListener("click", (event) => {
    if (open?.place === place || event.target.closest("a")) return;
    edit(place);
  });
}

// What waited is written, or stopped: the values shown are the old ones.
const edits = document.getElementById("edits");
if (edits) {
  new MutationObserver(() => {
    if (!("live" in edits.dataset) && !open) location.reload();
  }).observe(edits, { attributes: true, attributeFilter: ["data-live"] });
}

document.addEventListener("input", (event) => {
  const box = event.target.closest(".change-one")?.querySelector("[name=set]");
  if (box && box !== event.target) box.checked = true;
});
