// Theme switch, phone menu, keyboard, charts. No inline scripts: the content security policy forbids them.
document.addEventListener("DOMContentLoaded", () => {
  const root = document.documentElement;
  document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
    const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    root.setAttribute("data-bs-theme", next);
    localStorage.setItem("muster-theme", next);
    drawCharts();
  });
  document.querySelector("[data-menu-toggle]")?.addEventListener("click", (event) => {
    const open = document.querySelector(".mu-nav").classList.toggle("is-open");
    event.currentTarget.setAttribute("aria-expanded", String(open));
  });
  document.addEventListener("keydown", onKey);
  drawCharts();
});

const PAGES = { o: "/", d: "/devices", r: "/rollouts", i: "/incidents", b: "/bundles", a: "/ledger" };
let going = false;

function onKey(event) {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (going && PAGES[event.key]) location.href = PAGES[event.key];
  going = event.key === "g";
  if (event.key === "/") {
    const search = document.querySelector("input[name=q]");
    if (search) { event.preventDefault(); search.focus(); }
  }
}

function drawCharts() {
  for (const box of document.querySelectorAll("[data-chart]")) {
    const data = JSON.parse(document.getElementById(box.dataset.chart).textContent);
    box.replaceChildren();
    if (!data.points.length) { box.textContent = "No samples yet."; continue; }
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--mu-quiet").trim();
    const line = style.getPropertyValue("--mu-accent").trim();
    const grid = line + "33";
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid } };
    new uPlot({
      width: box.clientWidth, height: 180, legend: { show: false }, cursor: { y: false },
      axes: [axis, { ...axis, size: 70 }],
      series: [{}, { stroke: line, width: 2, fill: line + "22" }],
    }, [data.points.map((p) => p[0]), data.points.map((p) => p[1])], box);
  }
}
addEventListener("resize", drawCharts);
