// Decides how a burst of requests is sent. Knows no limit and draws nothing.

import { request } from "./ask.js";

/**
 * Send `requests` GETs, `atOnce` at a time, and report each answer as it comes.
 *
 * @param {(index: number, response: Response, seconds: number) => void} onAnswer
 * @returns {Promise<number>} Seconds until the last answer.
 */
export async function sendBurst(url, { requests, atOnce, signal, onAnswer = () => {} }) {
  const startedAt = performance.now();
  let next = 0;

  async function sender() {
    while (next < requests) {
      const index = next++;
      const sentAt = performance.now();
      const response = await request(url, { signal });
      await response.arrayBuffer(); // the connection is free for the next one only after that
      onAnswer(index, response, (performance.now() - sentAt) / 1000);
    }
  }

  try {
    await Promise.all(Array.from({ length: Math.min(atOnce, requests) }, sender));
  } finally {
    next = requests; // after a failure the other senders stop, too
  }
  return (performance.now() - startedAt) / 1000;
}
