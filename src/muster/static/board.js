// Cards moved between the columns of a board: dragged, or by the form each card has, which works alone, too.
import { say } from "./toast.js";

const csrf = document.querySelector("meta[name=csrf]").content;
let dragged;

export function watchBoard(board) {
  for (const card of board.querySelectorAll("[data-card]:has(form)")) card.draggable = true;
  board.addEventListener("dragstart", (event) => {
    dragged = event.target.closest?.("[data-card]");
    if (!dragged) return;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.querySelector("a").href);
  });
  board.addEventListener("dragend", () => {
    dragged = undefined;
    over(board, undefined);
  });
  board.addEventListener("dragover", (event) => {
    const column = target(event);
    if (column) event.preventDefault();
    over(board, column);
  });
  board.addEventListener("drop", (event) => {
    const column = target(event);
    if (!column) return;
    event.preventDefault();
    move(dragged, column);
  });
  board.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const column = board.querySelector(`[data-stage="${CSS.escape(form.elements.f_dealstage.value)}"]`);
    form.closest("details").open = false;
    if (column) move(form.closest("[data-card]"), column);
  });
}

/** The column under the pointer, if the card that is dragged could move there. */
function target(event) {
  const column = event.target.closest("[data-stage]");
  return dragged && column && !column.contains(dragged) ? column : undefined;
}

function over(board, column) {
  for (const one of board.querySelectorAll("[data-stage]")) one.toggleAttribute("data-over", one === column);
}

async function move(card, column) {
  const from = card.closest(".board-column");
  if (from === column) return;
  const next = card.nextElementSibling;
  const label = column.querySelector("h2 a").textContent;
  column.querySelector("ol").prepend(card);
  card.dataset.moving = "";
  try {
    const response = await fetch(`/api/v1/crm/deals/${encodeURIComponent(card.dataset.card)}`, {
      method: "PATCH",
      headers: { "content-type": "application/json", "x-csrf-token": csrf },
      body: JSON.stringify({
        fields: { dealstage: column.dataset.stage },
        before: { dealstage: card.querySelector("form").elements.was_dealstage.value },
      }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
    const { status, problem } = answer.edit ?? {};
    if (status === "conflict" || status === "refused") throw new Error(problem || "HubSpot did not take it.");
    settle(card, column.dataset.stage);
    say(status && status !== "done" ? `On its way to ${label}` : `Moved to ${label}`);
  } catch (error) {
    from.querySelector("ol").insertBefore(card, next);
    say(`Not moved: ${error.message}`);
  } finally {
    delete card.dataset.moving;
    card.querySelector("[data-row]").focus();
  }
}

/** Has the card's form begin where the card is now. */
function settle(card, stage) {
  const { was_dealstage: was, f_dealstage: chosen } = card.querySelector("form").elements;
  was.value = stage;
  chosen.value = stage;
}
