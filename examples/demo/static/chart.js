// Decides how two times and their ratio are drawn. Knows not what was timed.

import { duration, element } from "./elements.js";

/**
 * Draw the usual way and ours as two bars, with the speed-up beside them.
 *
 * @param {HTMLElement} figure Where to.
 * @param {string} title What was timed.
 * @param {{label: string, seconds: number}} usual The usual way.
 * @param {{label: string, seconds: number}} ours Ours.
 * @param {{gained?: string, badge?: [string, string], spell?: (value: number) => string}} options
 *   What the ratio means: ours is so many times …; or a badge of another kind, a number and its
 *   words; and how a value is written.
 */
export function drawChart(figure, title, usual, ours, options = {}) {
  const { gained = "as fast", badge: said, spell = duration } = options;
  const longest = Math.max(usual.seconds, ours.seconds);
  const factor = usual.seconds / ours.seconds;
  const gain = factor >= 10 ? factor.toFixed(0) : factor.toFixed(1);
  const [number, words] = said ?? [`${gain}×`, gained];
  const bars = element("div", "bars", bar(usual, "usual", longest, spell), bar(ours, "ours", longest, spell));
  bars.setAttribute("role", "img");
  bars.ariaLabel =
    `${usual.label}: ${spell(usual.seconds)}. ` +
    `${ours.label}: ${spell(ours.seconds)}. ${said ? said.join(" ") : `${gain} times ${gained}`}.`;
  const badge = element("p", "gain", element("b", "", number), element("span", "", words));
  figure.replaceChildren(element("figcaption", "", title), bars, badge);
  figure.dataset.usual = usual.seconds;
  figure.dataset.ours = ours.seconds;
}

/** Forget an earlier run. */
export function clearChart(figure) {
  figure.replaceChildren();
  delete figure.dataset.usual;
  delete figure.dataset.ours;
}

function bar({ label, seconds }, kind, longest, spell) {
  const filled = element("span", `bar ${kind}`);
  filled.style.inlineSize = `${Math.max(0.5, (100 * seconds) / longest)}%`;
  return element(
    "div",
    "bar-row",
    element("span", "bar-label", label),
    element("span", "bar-track", filled),
    element("span", "bar-time", spell(seconds)),
  );
}
