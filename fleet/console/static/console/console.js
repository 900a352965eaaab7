// Theme, mobile menu, keyboard shortcuts, copy buttons, live updates. The Content-Security-Policy forbids inline scripts.
const root = document.documentElement;

document.addEventListener("click", async (event) => {
  const part = event.target.closest("button");
  if (!part) return;
  if ("themeToggle" in part.dataset) {
    const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    localStorage.setItem("muster-theme", next);
    root.setAttribute("data-bs-theme", next);
  } else if ("menuToggle" in part.dataset) {
    part.setAttribute("aria-expanded", String(document.querySelector(".mu-nav").classList.toggle("is-open")));
  } else if ("help" in part.dataset) {
    help();
  } else if ("copy" in part.dataset) {
    await navigator.clipboard.writeText(part.parentElement.querySelector("pre").textContent);
    say("Copied.");
  }
});

function say(words) {
  document.getElementById("announcer").textContent = words;
}

// Keyboard
const PAGES = { o: "/", d: "/devices", i: "/incidents", r: "/rollouts", b: "/bundles", t: "/tokens", p: "/approvals", c: "/authorities", a: "/ledger", k: "/api-tokens", h: "/help" };
let going = false;

function help() {
  const box = document.querySelector(".mu-help");
  box.querySelector("[data-keys]").checked = keysAreOn();
  box.showModal();
}

function keysAreOn() {
  return localStorage.getItem("muster-keys") !== "off";
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.submit();
  if (event.target.matches("[data-keys]")) localStorage.setItem("muster-keys", event.target.checked ? "on" : "off");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, dialog")) {
    if (event.key === "Escape" && !event.target.closest("dialog")) event.target.blur();
    return;
  }
  if (!keysAreOn()) return;
  const went = going;
  going = event.key === "g";
  if (went && PAGES[event.key]) location.href = PAGES[event.key];
  else if (event.key === "/") focusOn(document.querySelector("input[type=search]"), event);
  else if (event.key === "?") help();
  else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1, event);
});

function focusOn(part, event) {
  if (!part) return;
  event.preventDefault();
  part.focus();
}

function step(by, event) {
  const rows = [...document.querySelectorAll(".mu-main tbody tr > :first-child a, .mu-main .mu-rows .mu-row > a")];
  const now = rows.indexOf(document.activeElement);
  focusOn(rows[Math.min(Math.max(now + by, 0), rows.length - 1)], event);
}

// Live updates: restore the focus after a swap. Announce changes of wave or state to screen readers, not every update.
let focused = null;
document.addEventListener("htmx:beforeSwap", keepFocus);
document.addEventListener("htmx:sseBeforeMessage", keepFocus);
document.addEventListener("htmx:afterSettle", afterSwap);
document.addEventListener("htmx:sseMessage", () => setTimeout(afterSwap));

function keepFocus() {
  const part = document.activeElement;
  focused = part && part !== document.body ? { id: part.id, href: part.getAttribute("href"), name: part.getAttribute("name") } : null;
}

function afterSwap() {
  live();
  if (!focused || (document.activeElement && document.activeElement !== document.body)) return;
  const { id, href, name } = focused;
  const found = id ? document.getElementById(id) : document.querySelector(
    href ? `.mu-main a[href="${CSS.escape(href)}"]` : `.mu-main [name="${CSS.escape(name || "")}"]`);
  found?.focus({ preventScroll: true });
}

let said = document.querySelector("[data-say]")?.dataset.say;

function live() {
  const part = document.querySelector("[data-say]");
  if (!part) return;
  if (part.dataset.say !== said) say(said = part.dataset.say);
  for (const button of document.querySelectorAll("[data-when]")) {
    button.hidden = !button.dataset.when.split(" ").includes(part.dataset.state);
  }
}
live();
