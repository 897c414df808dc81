// Events as they happen, with one stream for all tabs of a browser where it has shared workers:
// browsers allow six connections to a host over HTTP/1.1.

/** @typedef {{event(topic: string, seq: number): void, gap(): void, state(on: boolean, since: string): void}} Follower */

/** Follows the daemon's events.
 * @param {string} base what precedes all paths
 * @param {Follower} follower */
export function follow(base, follower) {
  /** @param {{data: any}} message */
  const take = ({ data }) => {
    switch (data.kind) {
      case "event": follower.event(data.topic, data.seq); break;
      case "gap": follower.gap(); break;
      case "state": follower.state(data.on, data.since); break;
    }
  };
  if ("SharedWorker" in globalThis) {
    const worker = new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: base });
    worker.port.onmessage = take;
    worker.port.start();
    addEventListener("pagehide", () => worker.port.postMessage("bye"));
    return;
  }
  stream(base, (data) => take({ data }));
}

/** Opens the stream. A browser resumes it by itself, with the number of the last event.
 * @param {string} base
 * @param {(data: object) => void} tell */
export function stream(base, tell) {
  let last = 0, since = "", tries = 0;
  const open = () => {
    const source = new EventSource(`${base}/api/v1/events${last ? `?since=${last}` : ""}`);
    source.onopen = () => { tries = 0; tell({ kind: "state", on: true, since }); };
    source.onmessage = (message) => {
      const seq = Number(message.lastEventId);
      if (seq <= last) return; // it has been here
      last = seq;
      const { time, topic } = JSON.parse(message.data);
      since = time ?? since; // by the daemon's clock: the browser's may be wrong
      tell({ kind: "event", seq, topic: topic ?? "" });
    };
    source.addEventListener("gap", (message) => { last = Number(message.lastEventId) || last; tell({ kind: "gap" }); });
    source.onerror = () => {
      tell({ kind: "state", on: false, since });
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      setTimeout(open, Math.min(30_000, 1000 * 2 ** tries++));
    };
  };
  open();
}
