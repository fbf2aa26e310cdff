// Decides how rates over time are drawn on a common scale. Knows not what was counted.

import { element, svg } from "./elements.js";

const HEIGHT = 100;
const WIDTH = 400;

/**
 * Draw one line for each kind.
 *
 * @param {HTMLElement} place Where to.
 * @param {Object<string, [number, number][]>} rates Seconds and a rate, by kind.
 * @param {number} until The scale's end in seconds.
 * @param {string} description What a screen reader says instead.
 */
export function drawRates(place, rates, until, description) {
  const most = Math.max(100, ...Object.values(rates).flatMap((line) => line.map(([, rate]) => rate)));
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    class: "rates",
  });
  for (const [kind, line] of Object.entries(rates)) {
    const points = line.map(
      ([at, rate]) =>
        `${((WIDTH * Math.min(at, until)) / until).toFixed(1)},${(HEIGHT - (HEIGHT * rate) / most).toFixed(1)}`,
    );
    drawing.append(svg("polyline", { points: points.join(" "), class: `rate ${kind}` }));
  }
  place.replaceChildren(drawing, element("span", "most", `${Math.round(most)} / s`));
  place.ariaLabel = description;
}
