// Panel 2: pages fetched one by one and on threads. Knows how to ask for it and draw it.

import { ask, json } from "./ask.js";
import { clearChart, drawChart } from "./chart.js";
import { count, duration } from "./elements.js";
import { onRun } from "./panel.js";
import { drawTimeline } from "./timeline.js";

export function threadsPanel(panel, { api, page }) {
  const { urls, pages, delay } = panel.querySelector("form").elements;
  const chart = panel.querySelector(".chart.time");
  const timeline = panel.querySelector(".timeline");

  const fill = () => {
    const line = (_, index) => `${page}/pages/${index + 1}?delay=${delay.value}`;
    urls.value = Array.from({ length: Math.min(pages.max, pages.value) }, line).join("\n");
  };
  for (const input of [pages, delay]) input.addEventListener("input", fill);
  fill();

  onRun(panel, async (values, { signal, say }) => {
    const lines = values.get("urls").split("\n").map((line) => line.trim()).filter(Boolean);
    const body = { ...json({ urls: lines }), signal };
    clearChart(chart);
    say(`Fetching ${count(lines.length, "page")} one by one …`);
    const slow = await ask(`${api}/pages/one-by-one`, body);
    draw(timeline, slow.pages.map((result) => [row(slow, result, "usual")]), slow.pages);
    say(`Fetching ${count(lines.length, "page")} on threads …`);
    const fast = await ask(`${api}/pages/on-threads`, body);
    const both = slow.pages.map((result, index) => [
      row(slow, result, "usual"),
      row(fast, fast.pages[index], "ours"),
    ]);
    draw(timeline, both, fast.pages);
    drawChart(
      chart,
      "Until the last page was there",
      { label: "One by one", seconds: slow.seconds },
      { label: "On threads", seconds: fast.seconds },
    );
    return summary(fast.pages);
  });
}

function row(run, result, kind) {
  return { start: result.started_at - run.started_at, end: result.ended_at - run.started_at, kind };
}

function draw(timeline, spans, pages) {
  const rows = spans.map((parts, index) => ({ label: pages[index].title, spans: parts }));
  const last = Math.max(...spans.flat().map((span) => span.end));
  drawTimeline(timeline, rows, `${count(pages.length, "page")}, the last after ${duration(last)}`);
}

function summary(pages) {
  const good = pages.filter((result) => result.status === 200);
  const size = good.reduce((sum, result) => sum + result.size, 0);
  const threads = new Set(pages.map((result) => result.thread)).size;
  const failed = pages.length - good.length;
  return (
    `${count(good.length, "page")} fetched, ${size} bytes, on ${count(threads, "thread")}` +
    (failed ? `; ${failed} failed.` : ".")
  );
}
