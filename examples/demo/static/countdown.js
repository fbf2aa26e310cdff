// Decides how the wait for the next permit is shown, second by second. Knows no header field.

/** A countdown in `place`; `start(seconds)` begins anew, 0 says that a permit is free. */
export function countdown(place) {
  const left = place.querySelector(".left");
  const time = place.querySelector(".time b");
  const caption = place.querySelector(".caption");
  let timer;
  let total = 0;
  let endsAt = 0;

  function show() {
    const seconds = Math.max(0, (endsAt - performance.now()) / 1000);
    const waiting = seconds > 0;
    place.dataset.state = waiting ? "waiting" : "ready";
    time.textContent = waiting ? `${Math.ceil(seconds)} s` : "now";
    caption.textContent = waiting ? "to the next permit" : "a permit is free";
    left.style.strokeDashoffset = waiting ? 100 - (100 * seconds) / total : 0;
    if (!waiting) clearInterval(timer);
  }

  return {
    start(seconds) {
      clearInterval(timer);
      total = seconds;
      endsAt = performance.now() + seconds * 1000;
      if (seconds > 0) timer = setInterval(show, 200);
      show();
    },
  };
}
