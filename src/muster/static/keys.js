import { openPalette } from "./palette.js";

const WAIT_MS = 1200;
const dialog = document.getElementById("keys");
const wanted = document.getElementById("keys-wanted");
let goingSince = -Infinity;

export function openKeys() {
  dialog?.showModal();
}

if (dialog) {
  // Single keys get in the way of speech input, so they can be switched off (WCAG 2.1.4).
  wanted.checked = localStorage.getItem("keys") !== "off";
  wanted.addEventListener("change", () => localStorage.setItem("keys", wanted.checked ? "on" : "off"));
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  const busy = event.target.closest("input, textarea, select, dialog, [contenteditable]");
  if (busy || event.metaKey || event.ctrlKey || event.altKey || !wanted.checked) return;

  const going = event.timeStamp - goingSince < WAIT_MS;
  goingSince = -Infinity;
  if (going) go(event.key);
  else if (event.key === "g") goingSince = event.timeStamp;
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "x") pick();
  else if (event.key === "/") search(event);
  else if (event.key === "?") openKeys();
}

function go(key) {
  document.querySelector(`[data-go="${CSS.escape(key)}"]`)?.click();
}

function step(by) {
  const rows = [...document.querySelectorAll("[data-rows] [data-row]")].filter((row) => row.checkVisibility());
  const here = rows.indexOf(document.activeElement);
  const next = here === -1 ? (by > 0 ? 0 : rows.length - 1) : here + by;
  rows[next]?.focus({ focusVisible: true });
}

/** Ticks the row that has the focus, or takes its tick away. */
function pick() {
  document.activeElement.closest("tr")?.querySelector("[data-pick]")?.click();
}

function search(event) {
  event.preventDefault(); // the slash is not part of the search
  const field = document.querySelector("main input[type=search]");
  if (field) field.select();
  else openPalette();
}
