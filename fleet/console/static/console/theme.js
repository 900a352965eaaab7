// Set the theme before the first paint: the user's choice, or else the system preference, also when it changes.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const set = () => root.setAttribute("data-bs-theme", localStorage.getItem("muster-theme") || (system.matches ? "dark" : "light"));
  system.addEventListener("change", set);
  set();
})();
