// Decides how a panel lives: idle, busy with its clock running, stopped, failed. Knows no chart.

/**
 * Run `work` when the panel's form is sent.
 *
 * @param {HTMLElement} panel A section with form, status line and error line.
 * @param {(form: FormData, tools: {signal: AbortSignal, say: (text: string) => void}) =>
 *   Promise<string>} work Resolves to what the status line shall say at the end.
 */
export function onRun(panel, work) {
  const form = panel.querySelector("form");
  const run = form.querySelector(".run");
  const stop = form.querySelector(".stop");
  const status = panel.querySelector(".status");
  const error = panel.querySelector(".error");
  const say = (text) => (status.textContent = text);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (panel.ariaBusy === "true") return;
    const values = new FormData(form);
    const abort = new AbortController();
    const onStop = () => abort.abort();
    error.hidden = true;
    stop.addEventListener("click", onStop);
    setBusy(panel, form, true);
    const clock = startClock(run);
    try {
      say(await work(values, { signal: abort.signal, say }));
    } catch (failure) {
      if (failure.name === "AbortError") {
        say("Stopped.");
      } else {
        say("");
        error.textContent = failure.message;
        error.hidden = false;
        if (!("status" in failure)) throw failure; // a bug of this page belongs in the console
      }
    } finally {
      clock.stop();
      stop.removeEventListener("click", onStop);
      setBusy(panel, form, false);
    }
  });
}

function setBusy(panel, form, busy) {
  const run = form.querySelector(".run");
  const stop = form.querySelector(".stop");
  const focused = form.contains(document.activeElement);
  panel.ariaBusy = String(busy);
  for (const control of form.elements) if (control !== stop) control.disabled = busy;
  stop.hidden = !busy;
  // A disabled or hidden control loses the focus, and the keyboard its place on the page.
  if (focused) (busy ? stop : run).focus({ preventScroll: true });
}

function startClock(button) {
  const label = button.textContent;
  const startedAt = performance.now();
  const tick = () => {
    button.textContent = `Running ${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
  };
  const timer = setInterval(tick, 100);
  tick();
  return {
    stop() {
      clearInterval(timer);
      button.textContent = label;
    },
  };
}
