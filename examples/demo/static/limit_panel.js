// Panel 1: a burst against a limit, drawn as it comes. Knows how an answer looks, not why.

import { Problem } from "./ask.js";
import { sendBurst } from "./burst.js";
import { clearChart, drawChart } from "./chart.js";
import { countdown } from "./countdown.js";
import { element } from "./elements.js";
import { onRun } from "./panel.js";
import { secondsToPermit } from "./rate_limit_fields.js";

const KINDS = { 200: "admitted", 429: "refused", 503: "busy" };

export function limitPanel(panel, { api }) {
  const form = panel.querySelector("form");
  const squares = panel.querySelector(".squares");
  const chart = panel.querySelector(".chart.time");
  const clock = countdown(panel.querySelector(".countdown"));

  const drawPending = () => {
    const number = Math.min(form.elements.requests.max, form.elements.requests.value);
    squares.replaceChildren(...Array.from({ length: number }, () => element("span", "square")));
  };
  form.elements.requests.addEventListener("input", drawPending);
  form.addEventListener("change", () => {
    for (const code of panel.querySelectorAll(".code"))
      code.hidden = code.dataset.view !== form.elements.path.value;
  });
  drawPending();

  onRun(panel, async (values, { signal, say }) => {
    const requests = Number(values.get("requests"));
    const options = { requests, atOnce: Number(values.get("at_once")), signal };
    const path = values.get("path");
    const query = `?milliseconds=${values.get("milliseconds")}`;
    const limit = form.querySelector(`[value="${path}"]`).dataset.text;
    const tally = { admitted: 0, refused: 0, busy: 0 };

    drawPending();
    showTally(panel, tally);
    clearChart(chart);
    say(`Sending ${requests} requests to ${path} …`);
    const limited = await sendBurst(`${api}${path}${query}`, {
      ...options,
      onAnswer(index, response, seconds) {
        const kind = KINDS[response.status];
        if (!kind) throw new Problem(`The server answered ${response.status}.`, response.status);
        tally[kind] += 1;
        squares.children[index].className = `square ${kind}`;
        squares.children[index].title = `${response.status} after ${Math.round(seconds * 1000)} ms`;
        showTally(panel, tally);
        showFields(panel, response);
        clock.start(secondsToPermit(response.headers));
      },
    });
    const summary =
      `${tally.admitted} of ${requests} admitted, ` +
      `${tally.refused + tally.busy} refused at once.`;
    squares.ariaLabel = summary;
    say(`${summary} Now the same burst without a limit …`);
    const open = await sendBurst(`${api}/burst/no-limit${query}`, options);
    drawChart(
      chart,
      "Until the burst was over",
      { label: "No limit", seconds: open },
      { label: limit, seconds: limited },
      { badge: [`${tally.refused + tally.busy}`, "told when to come back"] },
    );
    return summary;
  });
}

function showTally(panel, tally) {
  for (const [kind, number] of Object.entries(tally))
    panel.querySelector(`[data-count="${kind}"]`).textContent = number;
}

function showFields(panel, response) {
  for (const place of panel.querySelectorAll("[data-field]")) {
    const name = place.dataset.field;
    const value = name === "status" ? `${response.status}` : response.headers.get(name);
    place.textContent = value ?? "–";
  }
}
