// Panel 4: many simultaneous waits on stock Flask and on ours. Draws what the page's server saw.

import { Problem, ask } from "./ask.js";
import { clearChart, drawChart } from "./chart.js";
import { count, duration } from "./elements.js";
import { onRun } from "./panel.js";
import { drawDense } from "./timeline.js";

export function asyncPanel(panel) {
  const time = panel.querySelector(".chart.time");
  const cpu = panel.querySelector(".chart.cpu");
  const threads = panel.querySelector(".chart.threads");
  const lanes = [...panel.querySelectorAll(".lane")];

  onRun(panel, async (values, { signal, say }) => {
    const requests = Number(values.get("requests"));
    const mark = Number(values.get("seconds"));
    const query = `?${new URLSearchParams({ requests, seconds: mark })}`;
    const options = { method: "POST", signal };
    for (const chart of [time, cpu, threads]) clearChart(chart);
    say(`${requests} requests at once to Flask alone …`);
    const stock = await measured(`/measure/stock-flask${query}`, options);
    show(lanes[0], stock, { until: stock.seconds, mark, kind: "usual" });
    say(`${requests} requests at once to Flask-Concurrency …`);
    const ours = await measured(`/measure/flask-concurrency${query}`, options);
    const until = Math.max(stock.seconds, ours.seconds);
    show(lanes[0], stock, { until, mark, kind: "usual" });
    show(lanes[1], ours, { until, mark, kind: "ours" });
    drawChart(
      cpu,
      "Processor time of the servers",
      { label: "Flask alone", seconds: stock.cpu },
      { label: "Shared loop", seconds: ours.cpu },
      { gained: "less" },
    );
    drawChart(
      threads,
      "Threads that ran the waiting views",
      { label: "Flask alone", seconds: stock.loops },
      { label: "Shared loop", seconds: ours.loops },
      { gained: "fewer threads", spell: String },
    );
    drawChart(
      time,
      `Until the last of ${requests} answers`,
      { label: "Flask alone", seconds: stock.seconds },
      { label: "Shared loop", seconds: ours.seconds },
    );
    return `Both answered ${count(requests, "request")}; the dashed line is the wait itself, ${duration(mark)}.`;
  });
}

async function measured(url, options) {
  const result = await ask(url, options);
  if (result.failed) throw new Problem(`${result.failed} of the requests got no answer.`, 502);
  return result;
}

function show(lane, result, options) {
  const description = `${count(result.waits.length, "request")}, the last answered after ${duration(result.seconds)}`;
  drawDense(lane.querySelector(".timeline"), result.waits, options, description);
  lane.querySelector(".facts").textContent = facts(result);
}

function facts(result) {
  return `${count(result.loops, "event loop")} on ${count(result.loops, "thread")}`;
}
