// The frame's first script applies the stored theme before anything is painted; this one changes it.
const NEXT = { system: "light", light: "dark", dark: "system" };

/** Moves on to the next theme, keeps it, and returns its name. */
export function switchTheme() {
  const root = document.documentElement;
  const theme = NEXT[root.dataset.theme ?? "system"];
  if (theme === "system") {
    delete root.dataset.theme;
    localStorage.removeItem("theme");
  } else {
    root.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }
  return theme;
}
