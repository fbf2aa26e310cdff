// Decides how spans of time are drawn on a common scale. Knows not what happened in them.

import { element, svg } from "./elements.js";

/**
 * Draw labelled rows of spans.
 *
 * @param {HTMLElement} place Where to.
 * @param {{label: string, spans: {start: number, end: number, kind: string}[]}[]} rows
 *   Times in seconds.
 * @param {string} description What a screen reader says instead.
 */
export function drawTimeline(place, rows, description) {
  const until = Math.max(0.001, ...rows.flatMap((row) => row.spans.map((span) => span.end)));
  const drawn = rows.map(({ label, spans }) =>
    element("div", "row", element("span", "row-label", label), track(spans, until)),
  );
  place.replaceChildren(...drawn, axis(until));
  place.ariaLabel = description;
}

/**
 * Draw very many spans, one thin line each.
 *
 * @param {HTMLElement} place Where to.
 * @param {[number, number][]} spans Start and end in seconds.
 * @param {{until: number, mark: number, kind: string}} options The scale's end, an instant to
 *   mark, and the colour.
 */
export function drawDense(place, spans, { until, mark, kind }, description) {
  const drawing = svg("svg", {
    viewBox: `0 0 1000 ${spans.length}`,
    preserveAspectRatio: "none",
    class: "dense-lines",
  });
  // Thin lines overlap a little: lines that merely touch would shimmer.
  const height = spans.length > 64 ? 1.5 : 0.75;
  spans.forEach(([start, end], row) =>
    drawing.append(
      svg("rect", {
        x: (1000 * start) / until,
        y: row,
        width: Math.max(1, (1000 * (end - start)) / until),
        height,
        class: kind,
      }),
    ),
  );
  const ideal = element("span", "mark");
  ideal.style.insetInlineStart = `${(100 * mark) / until}%`;
  place.replaceChildren(element("div", "dense-area", drawing, ideal), axis(until));
  place.ariaLabel = description;
}

function track(spans, until) {
  const line = element("span", "track");
  const kinds = [...new Set(spans.map((span) => span.kind))];
  for (const { start, end, kind } of spans) {
    const part = element("span", `span ${kind}`);
    part.style.insetInlineStart = `${(100 * start) / until}%`;
    part.style.inlineSize = `${(100 * (end - start)) / until}%`;
    part.dataset.of = kinds.length > 1 ? kinds.indexOf(kind) : "only";
    line.append(part);
  }
  return line;
}

function axis(until) {
  const line = element("div", "axis");
  line.ariaHidden = "true";
  const step = niceStep(until / 4);
  for (let at = 0; at <= until * 1.0001; at += step) {
    const tick = element("span", "tick", at === 0 ? "0" : tickLabel(at, until));
    tick.style.insetInlineStart = `${(100 * at) / until}%`;
    line.append(tick);
  }
  return line;
}

function tickLabel(at, until) {
  return until < 1 ? `${Math.round(at * 1000)} ms` : `${Number(at.toFixed(2))} s`;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}
