// <job-progress src="/jobs/ID" remember="report"> follows a job until its end, and can cancel it.
// It listens to the job's events, and asks instead where those do not get through.
class JobProgress extends HTMLElement {
  static observedAttributes = ["src"];

  connectedCallback() {
    this.innerHTML = "<progress></progress> <output></output> <button type=button>Cancel</button>";
    [this.bar, this.text, this.button] = this.children;
    this.bar.setAttribute("aria-label", this.getAttribute("label") || "Progress");
    this.button.onclick = () => fetch(this.src, { method: "DELETE" }).then(() => this.ask());
    const kept = this.name && sessionStorage.getItem(this.name);
    if (kept && !this.src) this.src = kept; // the page was loaded anew
    else this.follow();
  }

  disconnectedCallback() { this.stop(); }
  attributeChangedCallback() { if (this.bar) this.follow(); }
  get name() { return this.getAttribute("remember"); }
  get src() { return this.getAttribute("src"); }
  set src(url) { this.setAttribute("src", url); }

  // Start a job and follow it. To press twice, or to repeat after an error, starts it once.
  async start(url, body) {
    this.key ||= Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16)).join("");
    const headers = { "Content-Type": "application/json", "Idempotency-Key": this.key };
    const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
    if (answer.status !== 202) throw new Error((await answer.json()).title);
    this.src = answer.headers.get("Location");
    this.key = null;
  }

  follow() {
    this.stop();
    this.hidden = !this.src;
    if (!this.src) return;
    if (this.name) sessionStorage.setItem(this.name, this.src);
    [this.seen, this.errors] = ["", 0];
    this.events = new EventSource(this.src + "/events");
    for (const kind of ["status", "progress"])
      this.events.addEventListener(kind, (event) => this.show(JSON.parse(event.data), event.lastEventId));
    this.events.onerror = () => ++this.errors >= 3 && this.poll();
    this.silence();
  }

  stop() {
    this.events?.close();
    clearTimeout(this.timer);
    this.events = null;
  }

  // A proxy that keeps events back makes no error: after a while without any, ask.
  silence() {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => ((await this.ask()) ? this.poll() : this.events && this.silence()), 15000);
  }

  async poll() {
    this.stop();
    const src = this.src;
    await this.ask();
    if (src === this.src && !this.done) this.timer = setTimeout(() => this.poll(), 2000);
  }

  // Ask once; whether that told something new.
  async ask() {
    try {
      const answer = await fetch(this.src, { cache: "no-store" });
      if (answer.status === 404) return this.show({ status: "gone", done: true }, "gone");
      return answer.ok && this.show(await answer.json(), answer.headers.get("ETag")?.match(/\d+/)?.[0]);
    } catch { return false; }
  }

  show(job, version) {
    if (version === this.seen) return false;
    [this.seen, this.done, this.errors] = [version, job.done, 0];
    this.setAttribute("status", job.status);
    const { fraction = null, message } = job.progress ?? {};
    if (job.status === "succeeded") this.bar.value = 1;
    else if (fraction === null) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
    this.bar.hidden = this.button.hidden = job.done;
    this.text.value = job.error?.title ?? (job.done ? job.status : job.canceling ? "canceling" : message || job.status);
    if (job.done) {
      this.stop();
      if (this.name) sessionStorage.removeItem(this.name);
    } else if (this.events) this.silence();
    this.dispatchEvent(new CustomEvent(job.done ? "job-done" : "job-progress", { detail: job, bubbles: true }));
    return true;
  }
}
customElements.define("job-progress", JobProgress);
