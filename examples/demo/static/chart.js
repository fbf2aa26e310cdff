// Decides how two times and their ratio are drawn. Knows not what was timed.

import { duration, element } from "./elements.js";

/**
 * Draw the usual way and ours as two bars, with the speed-up beside them.
 *
 * @param {HTMLElement} figure Where to.
 * @param {string} title What was timed.
 * @param {{label: string, seconds: number}} usual The usual way.
 * @param {{label: string, seconds: number}} ours Ours.
 * @param {string} gained What the ratio means: ours is so many times …
 */
export function drawChart(figure, title, usual, ours, gained = "as fast") {
  const longest = Math.max(usual.seconds, ours.seconds);
  const factor = usual.seconds / ours.seconds;
  const gain = factor >= 10 ? factor.toFixed(0) : factor.toFixed(1);
  const bars = element("div", "bars", bar(usual, "usual", longest), bar(ours, "ours", longest));
  bars.setAttribute("role", "img");
  bars.ariaLabel =
    `${usual.label}: ${duration(usual.seconds)}. ` +
    `${ours.label}: ${duration(ours.seconds)}. ${gain} times ${gained}.`;
  const badge = element("p", "gain", element("b", "", `${gain}×`), element("span", "", gained));
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

function bar({ label, seconds }, kind, longest) {
  const filled = element("span", `bar ${kind}`);
  filled.style.inlineSize = `${Math.max(0.5, (100 * seconds) / longest)}%`;
  return element(
    "div",
    "bar-row",
    element("span", "bar-label", label),
    element("span", "bar-track", filled),
    element("span", "bar-time", duration(seconds)),
  );
}
