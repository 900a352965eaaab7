// The theme is set before the first paint: what the person chose, else what the system prefers.
(() => {
  const chosen = localStorage.getItem("muster-theme");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.setAttribute("data-bs-theme", chosen || (dark ? "dark" : "light"));
})();
