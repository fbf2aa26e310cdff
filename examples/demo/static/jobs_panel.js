// Panel 6: a job that is followed, and whose worker is killed. Knows how to ask and draw it.

import { Problem, ask } from "./ask.js";
import { count, duration } from "./elements.js";
import { onRun } from "./panel.js";
import { drawTimeline } from "./timeline.js";

const MIDDLE = 0.4;

export function jobsPanel(panel) {
  const follow = panel.querySelector("job-progress");
  const button = panel.querySelector(".kill-worker");
  const timeline = panel.querySelector(".timeline");

  onRun(panel, async (values, { signal, say }) => {
    await customElements.whenDefined("job-progress");
    const killed = { workers: [], at: [] };
    let toKill = values.get("kill") === "1";
    const kill = async () => {
      button.disabled = true;
      toKill = false;
      // A job that has ended meanwhile has no worker left to kill.
      const answer = await ask(`${address(follow.src)}/kill-its-worker`, { method: "POST" }).catch(() => null);
      if (answer === null) return;
      killed.workers.push(...answer.killed);
      killed.at.push(new Date().toISOString());
      say(`Worker ${answer.killed.join(", ")} was killed. The job is still on the disk …`);
    };
    button.addEventListener("click", kill);
    const listening = new AbortController();
    try {
      const ended = new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => {
          if (follow.src) fetch(follow.src, { method: "DELETE" });
          reject(new DOMException("", "AbortError"));
        });
        const told = ({ detail: job }) => {
          if (signal.aborted) return;
          draw(timeline, job, killed);
          const running = job.status === "running";
          button.disabled = !running;
          if (running) say(`Attempt ${job.attempts.length}: ${job.progress?.message ?? "starts"}`);
          if (running && toKill && (job.progress?.fraction ?? 0) >= MIDDLE) kill();
          if (job.done) resolve(job);
        };
        follow.addEventListener("job-progress", told, { signal: listening.signal });
        follow.addEventListener("job-done", told, { signal: listening.signal });
      });
      ended.catch(() => {});
      say("Starting it …");
      await started(follow, `/reports?seconds=${values.get("seconds")}`);
      return summary(await ended, killed);
    } finally {
      listening.abort();
      button.disabled = true;
      button.removeEventListener("click", kill);
    }
  });
}

async function started(follow, url) {
  try {
    await follow.start(url);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(`The report was not accepted: ${error.message}`);
  }
}

/** Where the demo takes a job's own verbs: the id is the end of its address. */
function address(src) {
  return `/reports/${src.split("/").at(-1)}`;
}

function summary(job, killed) {
  if (job.status !== "succeeded") return `The job was ${job.status}.`;
  const [first, ...later] = job.attempts;
  if (!killed.workers.length) return `Done in ${duration(seconds(first.ended, first.started))}, in ${count(job.attempts.length, "attempt")}.`;
  const back = later.length ? `, and the job came back after ${duration(seconds(later[0].started, killed.at[0]))}` : "";
  return `Done in ${count(job.attempts.length, "attempt")}: worker ${killed.workers.join(", ")} was killed${back}.`;
}

/**
 * Draw every attempt: when a worker took the job up, and until when it ran.
 *
 * The record of a killed attempt ends when the next worker noticed; here it ends with the kill.
 */
function draw(timeline, job, killed) {
  const now = new Date().toISOString();
  const rows = job.attempts.map(({ number, started, ended, how }, index) => ({
    label: `Attempt ${number}`,
    spans: [
      {
        start: seconds(started, job.created),
        end: Math.max(0.01, seconds(killed.at[index] ?? ended ?? now, job.created)),
        kind: how === "interrupted" ? "usual" : "ours",
      },
    ],
  }));
  if (rows.length) drawTimeline(timeline, rows, `${count(rows.length, "attempt")}; the job is ${job.status}`);
}

function seconds(until, since) {
  return (Date.parse(until) - Date.parse(since)) / 1000;
}
