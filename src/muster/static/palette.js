const TYPING_MS = 120;
const dialog = document.getElementById("palette");
const input = document.getElementById("palette-input");
const list = document.getElementById("palette-list");
const hint = document.getElementById("palette-hint");
let timer;
let asking;
let chosen = 0;

export function openPalette() {
  if (!dialog || dialog.open) return;
  input.value = "";
  show(places(""));
  dialog.showModal();
}

// The key that opens it is written as this machine's keyboard has it.
if (!/Mac|iPhone|iPad/.test(navigator.platform)) {
  for (const key of document.querySelectorAll(".finder kbd")) key.textContent = "Ctrl K";
}

if (dialog) {
  input.addEventListener("input", ask);
  input.addEventListener("keydown", onKey);
  list.addEventListener("click", (event) => visit(event.target.closest("[role=option]")));
}

function places(words) {
  const wanted = words.toLowerCase();
  return [...document.querySelectorAll(".nav a")]
    .map((link) => ({ label: link.textContent.trim(), note: "Go to", href: link.href }))
    .filter((place) => place.label.toLowerCase().includes(wanted));
}

async function fetchFound(path, asked, signal) {
  const answer = await fetch(`/api/v1/${path}?${new URLSearchParams(asked)}`, { signal });
  if (!answer.ok) throw new Error(`the search of ${path} answered ${answer.status}`);
  return answer.json();
}

async function people(words, signal) {
  const found = await fetchFound("people", { q: words, limit: 8 }, signal);
  return found.people.map(({ id, name, email, title }) => ({
    label: name,
    note: title || email,
    href: `/people/${encodeURIComponent(id)}`,
  }));
}

async function customers(words, signal) {
  const found = await fetchFound("crm/records", { q: words }, signal);
  return found.records.map(({ kind, id, name, note }) => ({
    label: name,
    note,
    href: `/crm/${kind}/${encodeURIComponent(id)}`,
  }));
}

function ask() {
  const words = input.value.trim();
  clearTimeout(timer);
  asking?.abort();
  show(places(words));
  if (words.length < 2) return;
  timer = setTimeout(() => add(words), TYPING_MS);
}

async function add(words) {
  asking = new AbortController();
  try {
    const { signal } = asking;
    const found = await Promise.all([people(words, signal), customers(words, signal)]);
    show([...places(words), ...found.flat()]);
    if (!list.childElementCount) hint.textContent = `Nothing and nobody is called “${words}”.`;
  } catch (error) {
    if (error.name !== "AbortError") hint.textContent = "The search cannot be reached just now.";
  }
}

function show(entries) {
  hint.textContent = "";
  list.replaceChildren(...entries.map(option));
  choose(0);
}

function option({ label, note, href }, i) {
  const row = document.createElement("li");
  row.id = `palette-${i}`;
  row.role = "option";
  row.dataset.href = href;
  const aside = document.createElement("span");
  aside.className = "muted";
  aside.textContent = note;
  row.append(label, aside);
  return row;
}

function visit(row) {
  if (row) location.assign(row.dataset.href);
}

function choose(i) {
  const rows = list.children;
  chosen = rows.length ? (i + rows.length) % rows.length : 0;
  [...rows].forEach((row, at) => row.setAttribute("aria-selected", String(at === chosen)));
  if (!rows.length) return input.removeAttribute("aria-activedescendant");
  input.setAttribute("aria-activedescendant", rows[chosen].id);
  rows[chosen].scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.key === "ArrowDown") choose(chosen + 1);
  else if (event.key === "ArrowUp") choose(chosen - 1);
  else if (event.key === "Enter") visit(list.children[chosen]);
  else return;
  event.preventDefault();
}
