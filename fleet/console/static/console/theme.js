// The theme is set before the first paint: what the person chose, else what the system prefers, also when it changes.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const set = () => root.setAttribute("data-bs-theme", localStorage.getItem("muster-theme") || (system.matches ? "dark" : "light"));
  system.addEventListener("change", set);
  set();
})();
