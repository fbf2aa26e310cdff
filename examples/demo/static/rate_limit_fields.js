// Decides when the next permit comes, from an answer's header fields. Knows no page.

/** The items of a RateLimit field: `"route:5/minute";r=0;t=12` becomes {name, r: 0, t: 12}. */
export function rateLimitItems(field) {
  const items = [];
  for (const [, name, parameters] of (field ?? "").matchAll(/"((?:[^"\\]|\\.)*)"((?:;\w+=\d+)*)/g)) {
    const values = [...parameters.matchAll(/;(\w+)=(\d+)/g)].map(([, key, value]) => [key, Number(value)]);
    items.push({ name, ...Object.fromEntries(values) });
  }
  return items;
}

/** Seconds until a request like this one would be let in: 0 is now. */
export function secondsToPermit(headers) {
  const retryAfter = headers.get("Retry-After");
  if (retryAfter !== null) return Number(retryAfter);
  const used = rateLimitItems(headers.get("RateLimit")).filter((item) => item.r === 0);
  return Math.max(0, ...used.map((item) => item.t ?? 0));
}
