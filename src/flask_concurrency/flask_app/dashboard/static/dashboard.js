"use strict";
// One page, no build. Data comes as rows of one second; see view.py for what a message holds.
(() => {
  const HOUR = 3600, POLL = 2000, STALE = 4000;
  const $ = (id) => document.getElementById(id);
  const rows = new Map();  // second -> row
  let columns = [], shown = null, range = 300, heardAt = 0, stream = null, poll = null, skew = 0;

  const text = (tag, value, kind) => {
    const made = document.createElement(tag);
    made.textContent = value;
    if (kind) made.className = kind;
    return made;
  };
  const whole = (n) => n >= 1000 ? Math.round(n).toLocaleString("en") : String(Math.round(n));
  const rate = (n) => n === 0 ? "0" : n < 10 ? n.toFixed(1) : whole(n);
  const span = (s) => s < 0.001 ? (s ? Math.round(s * 1e6) + " µs" : "0 ms") : s < 1 ? +(s * 1e3).toPrecision(3) + " ms"
    : s < 100 ? +s.toPrecision(3) + " s" : s < 6000 ? +(s / 60).toPrecision(3) + " min"
    : s < 172800 ? +(s / 3600).toPrecision(3) + " h" : +(s / 86400).toPrecision(3) + " d";

  // --- charts ---

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const CHARTS = [
    { id: "load", height: 230, series: [["good", "good", 1], ["refused", "refused", 1], ["errors", "errors", 1], ["late", "late", 1]] },
    { id: "time", height: 165, series: [["mean", "accent", 1e3, "answer"], ["age", "refused", 1e3, "age"], ["lag", "late", 1e3, "loop lag"]] },
    { id: "inside", height: 165, series: [["in_flight", "accent", 1, "in flight"], ["waiting", "refused", 1], ["cap", "good", 1, "cap"]] },
  ];
  const plots = new Map();

  function plot(chart) {
    const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line"), width: 1 }, font: "12px system-ui" };
    const box = $(chart.id);
    box.replaceChildren();
    const options = {
      width: box.clientWidth - 14, height: chart.height,
      cursor: { sync: { key: "time" }, drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.08)] } },
      axes: [{ ...axis, space: 80 }, { ...axis, size: 48 }],
      series: [{ value: (_, at) => at == null ? "–" : new Date(at * 1e3).toLocaleTimeString() },
        ...chart.series.map(([name, tint, , label], number) => ({
          label: label || name, stroke: color(tint), width: 1.6, points: { show: false }, spanGaps: false,
          fill: chart.id === "load" && number < 2 ? color(tint) + "22" : undefined,
          value: (_, v) => v == null ? "–" : +v.toPrecision(3),
        }))],
    };
    plots.set(chart.id, new uPlot(options, data(chart), box));
  }

  function data(chart) {
    const until = Math.floor(Date.now() / 1e3 + skew), at = [], lines = chart.series.map(() => []);
    const picks = chart.series.map(([name, , factor]) => [columns.indexOf(name) + 1, factor]);
    for (let second = until - range; second <= until; second++) {
      const row = rows.get(second);
      at.push(second);
      picks.forEach(([place, factor], line) => {
        const value = row && place > 0 ? row[place] : null;
        lines[line].push(value === null || value < 0 ? null : value * factor);
      });
    }
    return [at, ...lines];
  }

  const redraw = () => CHARTS.forEach((chart) => plots.get(chart.id)?.setData(data(chart)));
  const rebuild = () => columns.length && CHARTS.forEach(plot);

  // --- words and tables ---

  function fill(body, lines, nothing) {
    const focused = document.activeElement?.dataset?.at;
    if (!lines.length) {
      const row = document.createElement("tr");
      row.className = "none";
      const cell = text("td", nothing);
      cell.colSpan = 9;
      row.append(cell);
      lines = [row];
    }
    $(body).replaceChildren(...lines);
    if (focused) document.querySelector(`[data-at="${CSS.escape(focused)}"]`)?.focus();
  }

  function line(first, ...cells) {
    const row = document.createElement("tr");
    const head = text("th", first);
    head.scope = "row";
    row.append(head, ...cells);
    return row;
  }

  function used(limit) {
    const cell = document.createElement("td");
    if (limit.of === undefined) { cell.textContent = "by client"; return cell; }
    const meter = document.createElement("meter");
    Object.assign(meter, { min: 0, max: limit.of || 1, high: limit.of * 0.8, optimum: 0, value: limit.used });
    meter.setAttribute("aria-hidden", "true");
    cell.append(meter, `${whole(limit.used)} of ${whole(limit.of)}${limit.in_flight ? " inside" : ""}`);
    return cell;
  }

  const hot = (n) => text("td", whole(n), n ? "n hot" : "n");

  function executor(each) {
    let now = "", soFar = [];
    if ("too_old" in each) {
      now = `${each.in_flight} in flight, ${each.cap === null ? "no cap" : "at most " + each.cap}; age ${span(each.age)}${each.standing ? ", a queue stands" : ""}`;
      soFar = [["admitted", each.admitted], ["too old", each.too_old], ["too many", each.too_many]];
    } else {
      now = "max_workers" in each ? `${each.busy} of ${each.max_workers} busy` : "pending" in each ? `${each.pending} pending` : `${each.tasks} tasks, ${span(each.lag || 0)} late`;
      if (each.queued) now += `, ${each.queued} queued`;
      if (each.overdue) now += `, ${each.overdue} past their deadline`;
      soFar = ["done", "failed", "cancelled", "expired", "refused", "killed"].map((name) => [name, each[name]]);
    }
    const said = soFar.filter(([name, n]) => n || name === "done").map(([name, n]) => `${whole(n || 0)} ${name}`).join(", ");
    return line(each.name, text("td", String(each.process), "n"), text("td", now), text("td", said));
  }

  function action(what, label, key) {
    const button = text("button", label);
    button.type = "button";
    button.dataset.at = what + " " + key;
    button.setAttribute("aria-label", `${label}: ${key}`);
    button.addEventListener("click", () => act(what, key, button));
    return button;
  }

  async function act(what, key, button) {
    button.disabled = true;
    let said;
    try {
      const response = await fetch(what, {
        method: "POST", credentials: "same-origin",
        headers: { "Content-Type": "application/json", "X-Concurrency-Dashboard": "1" }, body: JSON.stringify({ key }),
      });
      const answer = await response.json().catch(() => ({}));
      said = answer.said || answer.error || `Refused with ${response.status}.`;
    } catch { said = "The server does not answer."; }
    button.disabled = false;
    $("said").textContent = said;
    if (!stream) ask();
  }

  function tiles(message) {
    const last = [...rows.values()].slice(-5);
    const mean = (name) => last.length ? last.reduce((sum, row) => sum + row[columns.indexOf(name) + 1], 0) / last.length : 0;
    const requests = mean("requests"), took = last.reduce((sum, row) => sum + row[1] * row[columns.indexOf("mean") + 1], 0);
    const share = (n) => requests ? Math.round(n / requests * 100) + " %" : "–";
    const values = [
      ["Requests", rate(requests), "a second"], ["Good", rate(mean("good")), "a second"], ["Refused", share(mean("refused")), ""],
      ["Failed or late", share(mean("errors") + mean("late")), ""], ["Answer", requests ? span(took / (requests * last.length)) : "–", "mean"],
      ["In flight", whole(mean("in_flight")), ""], ["Waiting", whole(mean("waiting")), ""], ["Processes", String(message.workers), ""],
    ];
    fillTiles("tiles", values);
  }

  function fillTiles(id, values) {
    $(id).replaceChildren(...values.map(([name, value, unit]) => {
      const box = document.createElement("div"), dd = text("dd", value);
      if (unit) dd.append(" ", text("small", unit));
      box.append(text("dt", name), dd);
      return box;
    }));
  }

  function jobs(told) {
    $("jobs").hidden = told === null;
    if (told === null) return;
    const sum = (event) => told.names.reduce((all, each) => all + each[event], 0);
    const now = (n) => told.available ? whole(n) : "–";
    fillTiles("job-tiles", [
      ["Queued", now(told.queued), ""], ["Running", now(told.running), ""], ["Failed", whole(sum("failed")), "lately"],
      ["Oldest waiting", told.longest_wait ? span(told.longest_wait) : "–", ""],
      ["Workers alive", told.workers === null ? "–" : now(told.workers), ""],
    ]);
    const events = ["submitted", "started", "succeeded", "failed", "canceled", "rescued"];
    fill("job-rows", told.names.map((each) => line(each.name, ...events.map((event) =>
      event === "failed" || event === "rescued" ? hot(each[event]) : text("td", whole(each[event]), "n")))), "No job lately.");
  }

  function show(message) {
    shown = message;
    heardAt = performance.now();
    skew = message.at - Date.now() / 1e3;
    const first = !columns.length;
    columns = message.columns;
    for (const row of message.rows) rows.set(row[0], row);
    for (const second of rows.keys()) { if (second > message.at - HOUR) break; rows.delete(second); }
    const words = $("words");
    if (words.textContent !== message.words) words.textContent = message.words;
    words.dataset.level = message.level;
    document.title = (message.level === "bad" ? "● " : "") + message.app + " – concurrency";
    $("app").textContent = message.app;
    $("where").textContent = `${message.store.kind} store${message.store.lost ? ", out" : ""}`;
    for (const each of document.querySelectorAll(".lately")) each.textContent = message.lately === null ? "so far" : `in the last ${span(Math.max(1, message.lately))}`;
    tiles(message);
    fill("limit-rows", message.limits.map((l) => line(l.route || "all routes", text("td", l.limit), used(l),
      text("td", l.max_queue ? `${l.waiting} of ${l.max_queue}` : "–", "n"), text("td", whole(l.admitted), "n"), hot(l.refused))), "No limit was asked lately.");
    fill("refused-rows", message.refused.map((r) => {
      const actions = document.createElement("td");
      actions.append(action("reset", "Reset", r.key), action("exempt", "Exempt 10 min", r.key));
      return line(r.key, text("td", r.limit), text("td", whole(r.times), "n"), text("td", span(Math.max(0, message.at - r.at)) + " ago", "n"), actions);
    }), "No client was refused lately.");
    fill("route-rows", message.routes.map((r) => line(`${r.method} ${r.route}`, text("td", whole(r.requests), "n"), hot(r.refused), hot(r.errors),
      text("td", span(r.mean), "n"), text("td", span(r.p50), "n"), text("td", span(r.p95), "n"))), "No request lately.");
    jobs(message.jobs);
    fill("executor-rows", message.executors.map(executor), "No executor was used yet.");
    if (first) rebuild(); else redraw();
    document.body.dataset.ready = "true";
  }

  // --- where it comes from ---

  const last = () => rows.size ? [...rows.keys()].at(-1) : 0;

  async function ask() {
    try {
      const response = await fetch(`data.json?after=${last()}`, { credentials: "same-origin" });
      if (response.ok) show(await response.json());
    } catch { /* the age on top says it */ }
  }

  function startPolling() { poll ??= setInterval(ask, POLL); }

  function listen() {
    if (stream || document.hidden) return;
    stream = new EventSource(`feed?after=${last()}`);
    stream.onmessage = (event) => { clearInterval(poll); poll = null; show(JSON.parse(event.data)); };
    stream.onerror = () => {
      // Closed for good: there are enough streams, or the server has one thread. Ask instead.
      if (stream?.readyState === EventSource.CLOSED) stream = null;
      startPolling();
    };
  }

  document.addEventListener("visibilitychange", () => {
    // A tab that is not looked at holds no connection.
    if (document.hidden) { stream?.close(); stream = null; clearInterval(poll); poll = null; } else ask().then(listen);
  });
  for (const choice of document.querySelectorAll("[name=range]")) {
    choice.addEventListener("change", () => { range = +choice.value; redraw(); });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
  let resized;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(rebuild, 150); });
  setInterval(() => {
    const old = performance.now() - heardAt;
    $("age").dataset.fresh = heardAt && old < STALE ? "yes" : "no";
    $("since").textContent = !heardAt ? "connecting" : old < STALE ? (stream ? "live" : "every 2 s") : `no news for ${span(Math.round(old / 1e3))}`;
  }, 500);
  ask().then(listen);
})();
