// Decides which panels the page has. Knows no panel's inside.

import { asyncPanel } from "./async_panel.js";
import { limitPanel } from "./limit_panel.js";
import { processesPanel } from "./processes_panel.js";
import { threadsPanel } from "./threads_panel.js";

const { api, maxUpload } = document.body.dataset;

limitPanel(document.getElementById("limit"), { api });
threadsPanel(document.getElementById("threads"), { api, page: location.origin });
processesPanel(document.getElementById("processes"), { api, maxUpload: Number(maxUpload) });
asyncPanel(document.getElementById("async"));
document.body.dataset.ready = "true";
