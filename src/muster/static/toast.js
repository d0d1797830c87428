const LASTS_MS = 2500;
let timer;

/** Says a few words at the foot of the window, to the eye and to a screen reader. */
export function say(words) {
  const toast = document.getElementById("toast");
  toast.textContent = words;
  clearTimeout(timer);
  timer = setTimeout(() => toast.replaceChildren(), LASTS_MS);
}
