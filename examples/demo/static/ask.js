// Decides how the page asks a server and what a failure says. Knows no panel.

/** A failure with a message for the visitor; `status` is undefined if there was no answer. */
export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The response, whatever its status; a Problem if there is none. */
export async function request(url, options = {}) {
  try {
    return await fetch(url, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(`${new URL(url, location).origin} does not answer. Is the demo still running?`);
  }
}

/** The JSON of a good answer; a Problem with the server's own words for any other. */
export async function ask(url, options) {
  const response = await request(url, options);
  const text = await response.text();
  const body = parsed(text);
  if (response.ok && body !== undefined) return body;
  throw new Problem(body?.detail ?? `The server answered ${response.status}.`, response.status);
}

/** Options of a POST that carries JSON. */
export function json(content) {
  return {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
