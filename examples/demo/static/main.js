// Decides which panels the page has. Knows no panel's inside.

import { asyncPanel } from "./async_panel.js";
import { jobsPanel } from "./jobs_panel.js";
import { limitPanel } from "./limit_panel.js";
import { overloadPanel } from "./overload_panel.js";
import { processesPanel } from "./processes_panel.js";
import { threadsPanel } from "./threads_panel.js";

const { api, maxUpload } = document.body.dataset;

limitPanel(document.getElementById("limit"), { api });
threadsPanel(document.getElementById("threads"), { api, page: location.origin });
processesPanel(document.getElementById("processes"), { api, maxUpload: Number(maxUpload) });
asyncPanel(document.getElementById("async"));
overloadPanel(document.getElementById("overload"));
jobsPanel(document.getElementById("jobs"));
document.querySelector(".everything").addEventListener("click", async ({ target }) => {
  target.disabled = true;
  for (const panel of document.querySelectorAll(".panel")) {
    panel.querySelector("form").requestSubmit();
    await idle(panel);
  }
  target.disabled = false;
});
document.body.dataset.ready = "true";

/** Wait until a panel has run, if it runs. */
function idle(panel) {
  return new Promise((resolve) => {
    const look = () => panel.ariaBusy !== "true" && (observer.disconnect(), resolve());
    const observer = new MutationObserver(look);
    observer.observe(panel, { attributes: true, attributeFilter: ["aria-busy"] });
    look();
  });
}
