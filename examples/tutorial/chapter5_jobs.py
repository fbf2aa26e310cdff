"""The tutorial's fifth chapter: a report that takes minutes, and outlives its request.

Run it with ``flask --app examples/tutorial/chapter5_jobs concurrency serve``.
"""

import os
import signal
import time

from flask import Flask, Response, request

from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app)


@concurrency.job(timeout=600)
def build_report(year: int, seconds_a_month: float = 1.0) -> dict[str, int]:
    """Add up twelve months, one after the other."""
    rows = 0
    for month in range(1, 13):
        concurrency.jobs.current.progress((month - 1) / 12, f"month {month} of {year}")
        time.sleep(seconds_a_month)
        rows += 1_000 + month
    return {"year": year, "rows": rows, "process": os.getpid()}


@app.post("/reports")
@concurrency.limit("10/minute")
def create() -> Response:
    """Accept a report and say where it is, in a few milliseconds."""
    return build_report.submit(request.json["year"]).accepted()


@app.post("/kill-the-worker")
def kill() -> tuple[str, int]:
    """Kill the worker, as a lack of memory would. Never offer that to anybody but yourself."""
    if request.remote_addr == "127.0.0.1":
        for worker in concurrency.jobs.workers():
            os.kill(worker.process, signal.SIGKILL)
    return "", 204


@app.get("/")
def page() -> str:
    """A page that starts a report and follows it."""
    return """<!doctype html>
<title>Report</title>
<script type="module" src="/jobs/job-progress.js"></script>
<button id="start">Build the report</button>
<button id="kill">Kill its worker</button>
<p><job-progress remember="report"></job-progress>
<pre id="result"></pre>
<script type="module">
  const job = document.querySelector("job-progress");
  start.onclick = () => job.start("/reports", { year: 2026 });
  kill.onclick = () => fetch("/kill-the-worker", { method: "POST" });
  job.addEventListener("job-done", async ({ detail }) => {
    const { result: kept } = detail.links;
    result.textContent = kept ? await (await fetch(kept)).text() : detail.status;
  });
</script>
"""
