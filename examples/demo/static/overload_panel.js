// Panel 5: one app with and without an adaptive limit, under load. Knows how to ask and draw it.

import { Problem, request } from "./ask.js";
import { clearChart, drawChart } from "./chart.js";
import { drawRates } from "./rates.js";
import { onRun } from "./panel.js";

const KINDS = ["usual", "ours"];

export function overloadPanel(panel) {
  const form = panel.querySelector("form");
  const { times, told } = form.elements;
  const chart = panel.querySelector(".chart.answers");
  const places = Object.fromEntries(
    KINDS.map((kind) => [kind, panel.querySelector(`.load[data-kind="${kind}"]`)]),
  );
  times.addEventListener("input", () => (told.value = times.value));

  onRun(panel, async (values, { signal, say }) => {
    const seconds = Number(values.get("seconds"));
    const query = new URLSearchParams({ times: values.get("times"), seconds });
    clearChart(chart);
    say(`Sending ${values.get("times")} times what each app can do …`);
    const seen = [{ at: 0, usual: nothing(), ours: nothing() }];
    for await (const counts of lines(`/overload/load?${query}`, { method: "POST", signal })) {
      seen.push(counts);
      for (const kind of KINDS) draw(places[kind], seen, kind, seconds);
    }
    const last = seen.at(-1);
    const [usual, ours] = KINDS.map((kind) => last[kind].good);
    const spell = (number) => `${number}`;
    drawChart(
      chart,
      "Answered in time",
      { label: "Without", seconds: usual },
      { label: "With it", seconds: ours },
      { spell, badge: [`${ours - usual >= 0 ? "+" : "−"}${Math.abs(ours - usual)}`, "in time"] },
    );
    const refused = last.ours.refused;
    return `${ours} answered in time and ${refused} refused at once; without it ${usual} in time.`;
  });
}

function nothing() {
  return { good: 0, late: 0, refused: 0, lost: 0 };
}

/** Draw one app's answers a second, and count them. */
function draw(place, seen, kind, seconds) {
  const rates = { good: [], refused: [], late: [] };
  for (let index = 1; index < seen.length; index++) {
    const [before, now] = [seen[index - 1], seen[index]];
    const span = Math.max(0.05, now.at - before.at);
    const rate = (of) => (of(now[kind]) - of(before[kind])) / span;
    rates.good.push([now.at, rate((counts) => counts.good)]);
    rates.refused.push([now.at, rate((counts) => counts.refused)]);
    rates.late.push([now.at, rate((counts) => counts.late + counts.lost)]);
  }
  const counts = seen.at(-1)[kind];
  const late = counts.late + counts.lost;
  place.querySelector('[data-count="good"]').textContent = counts.good;
  place.querySelector('[data-count="late"]').textContent = late;
  place.querySelector('[data-count="refused"]').textContent = counts.refused;
  drawRates(
    place.querySelector(".plot"),
    rates,
    seconds + 2,
    `${counts.good} answered in time, ${late} late or lost, ${counts.refused} refused`,
  );
}

/** The lines of a streamed answer, each as JSON, as they come. */
async function* lines(url, options) {
  const response = await request(url, options);
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Problem(body.detail ?? `The server answered ${response.status}.`, response.status);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}
