// Chart of one device metric over time, with its usual range. Redraw it when the size or the theme changes.
(() => {
  const box = document.querySelector("[data-chart]");
  if (!box) return;
  const data = JSON.parse(document.getElementById(box.dataset.chart).textContent);
  const unit = box.dataset.unit;
  let plot = null;

  function tone(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function draw() {
    const ink = tone("--mu-quiet"), line = tone("--mu-line"), accent = tone("--mu-accent");
    const axis = { stroke: ink, font: "11px Inter, sans-serif", grid: { stroke: line, width: 1 }, ticks: { show: false } };
    const series = [{ label: "at", value: (_, at) => (at == null ? "" : clock(at)) }, { label: box.dataset.label, stroke: accent, width: 1.75, fill: accent + "1c", points: { show: false } }];
    const values = [data.times, data.values];
    const bands = [];
    if (data.band) {
      for (const edge of ["high", "low"]) {
        series.push({ label: `usual range, ${edge}`, stroke: tone("--mu-good"), width: 1, dash: [4, 4], points: { show: false } });
        values.push(data.times.map(() => data.band[edge]));
      }
      bands.push({ series: [2, 3], fill: tone("--mu-good") + "22" });
    }
    plot?.destroy();
    plot = new uPlot({
      width: box.clientWidth, height: 220, series, bands,
      cursor: { y: false, points: { size: 7 } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((at) => clock(at, data.times.at(-1) - data.times[0])) }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => short(tick)) }],
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high * 1.08 || 1] } },
      hooks: { draw: [rest], setCursor: [rest] },
    }, values, box);
  }

  // While no pointer is over the chart, the legend shows the newest values.
  function rest(drawn) {
    if (drawn.cursor.left < 0 || drawn.cursor.left == null) setTimeout(() => drawn.setLegend({ idx: data.times.length - 1 }));
  }

  function clock(at, span = 0) {
    const text = new Date(at * 1000).toISOString();
    if (span > 5 * 86400) return text.slice(5, 10);
    return span > 86400 ? text.slice(5, 16).replace("T", " ") : text.slice(11, 19);
  }

  function short(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return `${(value / 1e6).toPrecision(3) / 1} M`;
    return size >= 1e4 ? `${(value / 1e3).toPrecision(3) / 1} k` : `${value}`;
  }

  if (!data.times.length) return;
  draw();
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 220 })).observe(box);
  box.setAttribute("aria-label", `${box.dataset.label}, last value ${data.values.at(-1)} ${unit}`);
})();
