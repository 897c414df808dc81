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
    returns(() => worker.port.postMessage("again"));
    return;
  }
  returns(stream(base, (data) => take({ data })));
}

/** Calls again when a page goes on that the browser had stopped, or had kept when somebody left it.
 * @param {() => void} again */
export function returns(again) {
  document.addEventListener("resume", again);
  addEventListener("pageshow", ({ persisted }) => { if (persisted) again(); });
}

// A machine that has slept finds connections that are gone, and nobody says so.
const look = 10_000, slept = 90_000;

/** Opens the stream, and returns what opens it again. A browser resumes it by itself, with the number
 * of the last event, if it learns that the connection is gone.
 * @param {string} base
 * @param {(data: object) => void} tell */
export function stream(base, tell) {
  let last = 0, since = "", tries = 0;
  /** @type {EventSource | undefined} */
  let now;
  const open = () => {
    now?.close();
    const source = now = new EventSource(`${base}/api/v1/events${last ? `?since=${last}` : ""}`);
    source.onopen = () => { tries = 0; tell({ kind: "state", on: true, since }); };
    source.onmessage = (message) => {
      const seq = Number(message.lastEventId);
      if (seq <= last) return; // it has been here
      last = seq;
      const { time, topic } = JSON.parse(message.data);
      since = time ?? since; // by the daemon's clock: the browser's may be wrong
      tell({ kind: "event", seq, topic: topic ?? "" });
    };
    source.addEventListener("gap", (message) => {
      if (message.lastEventId) last = Number(message.lastEventId); // after a backup was restored, it is lower
      tell({ kind: "gap" });
    });
    source.onerror = () => {
      tell({ kind: "state", on: false, since });
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      setTimeout(() => { if (source === now) open(); }, Math.min(30_000, 1000 * 2 ** tries++));
    };
  };
  open();
  let looked = Date.now();
  setInterval(() => {
    const at = Date.now();
    if (at - looked > slept) open();
    looked = at;
  }, look);
  return open;
}
