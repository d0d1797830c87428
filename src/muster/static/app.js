// Everything here is a comfort: each page works without it.
import { tellClocks } from "./clock.js";
import { openKeys } from "./keys.js";
import { watch } from "./live.js";
import { openPalette } from "./palette.js";
import { switchTheme } from "./theme.js";
import { say } from "./toast.js";

const ON_CLICK = {
  palette: openPalette,
  keys: openKeys,
  theme: () => say(`Theme: ${switchTheme()}`),
  copy: async (button) => {
    await navigator.clipboard.writeText(button.dataset.copy);
    say("Copied");
  },
  close: (button) => button.closest("dialog").close(),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  // A click that asks for a new tab is the link's own.
  if (!button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  ON_CLICK[button.dataset.do](button);
});

// A click beside a dialog closes it: the click lands on the dialog itself, outside its content.
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

// A second click on "Start a sync" must not start a second one.
document.addEventListener("submit", (event) => {
  if (event.target.method === "post") event.submitter?.setAttribute("aria-disabled", "true");
});
document.addEventListener("click", (event) => {
  if (event.target.closest("button[aria-disabled]")) event.preventDefault();
}, { capture: true });
// The back button can bring a page back as it was left.
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[aria-disabled]")) button.removeAttribute("aria-disabled");
});

// Rows that are ticked belong to the form they name; the box at their head ticks all of this page.
document.addEventListener("change", (event) => {
  if (!("pickAll" in event.target.dataset)) return;
  for (const box of document.querySelectorAll("[data-pick]")) box.checked = event.target.checked;
});

tellClocks(document);

for (const region of document.querySelectorAll("[data-live]")) watch(region);

const board = document.querySelector("[data-board]");
if (board) import("./board.js").then(({ watchBoard }) => watchBoard(board));
