// Panel 3: a picture in one process and on all. Knows how to ask for it and draw it.

import { Problem, ask } from "./ask.js";
import { clearChart, drawChart } from "./chart.js";
import { count, duration } from "./elements.js";
import { onRun } from "./panel.js";
import { drawTimeline } from "./timeline.js";

const ZOOM_STEP = 2.5;

export function processesPanel(panel, { api, maxUpload }) {
  const form = panel.querySelector("form");
  const chart = panel.querySelector(".chart.time");
  const picture = panel.querySelector(".picture");
  const timeline = panel.querySelector(".timeline");
  let shown = null; // the region of the fractal on display

  form.addEventListener("change", ({ target }) => {
    if (target.name === "kind") showKind(panel, target.value);
    if (target.name === "place") goTo(form, target.value);
  });
  picture.querySelector("img").addEventListener("click", (event) => {
    if (shown === null || panel.ariaBusy === "true") return;
    zoomIn(form, shown, event);
    form.requestSubmit();
  });

  onRun(panel, async (values, { signal, say }) => {
    const kind = values.get("kind");
    const [query, options, region] =
      kind === "fractal" ? fractal(values) : contactSheet(values, maxUpload);
    const url = `${api}/pictures/${kind}`;
    clearChart(chart);
    say("Computing in one process …");
    const slow = await ask(`${url}/in-one-process${query}`, { ...options, signal });
    show(picture, slow, region);
    draw(timeline, slow, null);
    shown = region;
    say("Computing on all processes …");
    const way = kind === "fractal" && values.get("kill") ? "with-a-worker-killed" : "on-all-processes";
    const fast = await ask(`${url}/${way}${query}`, { ...options, signal });
    show(picture, fast, region);
    const processes = draw(timeline, slow, fast);
    drawChart(
      chart,
      "Until the last tile was there",
      { label: "One process", seconds: slow.seconds },
      { label: count(processes, "process", "processes"), seconds: fast.seconds },
    );
    const starting = fast.starting > 0.05 ? ` Starting them took ${duration(fast.starting)}, once.` : "";
    return `${count(fast.tiles.length, "tile")} on ${count(processes, "process", "processes")}.${starting}${killed(fast)}`;
  });
}

function killed({ killed: worker, lost }) {
  if (!worker) return "";
  const cost = lost ? `${count(lost, "tile")} was lost with it, and computed again` : "it had nothing to lose";
  return ` Worker ${worker} was killed in the middle: ${cost}.`;
}

function fractal(values) {
  const [width, height] = values.get("size").split("×").map((part) => Number(part));
  const [x, y, zoom, iterations] = ["x", "y", "zoom", "iterations"].map((name) => Number(values.get(name)));
  const region = { x, y, zoom, width, height };
  return [`?${new URLSearchParams({ ...region, iterations })}`, {}, region];
}

function contactSheet(values, maxUpload) {
  const { size } = values.get("photo");
  if (size > maxUpload) {
    const [sent, most] = [size, maxUpload].map((bytes) => Math.round(bytes / 1048576));
    throw new Problem(`The photo has ${sent} MB, and ${most} MB are the most: choose a smaller one.`, 413);
  }
  return ["", { method: "POST", body: values }, null];
}

function showKind(panel, kind) {
  for (const part of panel.querySelectorAll("[data-kind]")) part.hidden = part.dataset.kind !== kind;
  for (const code of panel.querySelectorAll(".code")) code.hidden = code.dataset.view !== kind;
}

function goTo(form, place) {
  const [x, y, zoom, iterations] = place.split(" ");
  Object.entries({ x, y, zoom, iterations }).forEach(([name, value]) => (form.elements[name].value = value));
}

function zoomIn(form, region, { target, clientX, clientY }) {
  const box = target.getBoundingClientRect();
  const pixel = 3 / region.zoom / Math.min(region.width, region.height);
  const digits = Math.max(4, Math.ceil(Math.log10(region.zoom)) + 4);
  const x = region.x + ((clientX - box.left) / box.width - 0.5) * region.width * pixel;
  const y = region.y - ((clientY - box.top) / box.height - 0.5) * region.height * pixel;
  form.elements.x.value = x.toFixed(digits);
  form.elements.y.value = y.toFixed(digits);
  form.elements.zoom.value = Math.round(region.zoom * ZOOM_STEP);
}

function show(picture, { image }, region) {
  const img = picture.querySelector("img");
  img.src = image;
  img.alt = region
    ? `The Mandelbrot set around ${region.x}, ${region.y}, magnified ${region.zoom} times`
    : "Your photo, developed in twelve ways";
  img.hidden = false;
  picture.dataset.state = region ? "fractal" : "contact-sheet";
}

/** Draw who computed which tile when; returns how many processes took part in the second run. */
function draw(timeline, slow, fast) {
  const workers = [...new Set(fast?.tiles.map((tile) => tile.process))].sort((a, b) => a - b);
  const rows = [{ label: "One process", spans: slow.tiles.map((tile) => span(tile, "usual")) }];
  workers.forEach((worker, index) => {
    const tiles = fast.tiles.filter((tile) => tile.process === worker);
    rows.push({ label: `Worker ${index + 1}`, spans: tiles.map((tile) => span(tile, "ours")) });
  });
  drawTimeline(timeline, rows, `${slow.tiles.length} tiles, in one process and on ${workers.length}`);
  return workers.length;
}

function span(tile, kind) {
  return { start: tile.started, end: tile.ended, kind };
}
