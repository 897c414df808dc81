// The one stream of a browser: all tabs listen to this worker.
import { stream } from "./live.js";

/** @type {Set<MessagePort>} */
const tabs = new Set();
/** @type {object | undefined} */
let state;

const scope = /** @type {any} */ (globalThis);
scope.onconnect = (/** @type {MessageEvent} */ event) => {
  const tab = event.ports[0];
  tabs.add(tab);
  tab.onmessage = ({ data }) => {
    if (data === "bye") { tabs.delete(tab); return; }
    tabs.add(tab);
    again();
  };
  if (state) tab.postMessage(state);
};

const again = stream(scope.name, (data) => {
  if (/** @type {any} */ (data).kind === "state") state = data;
  for (const tab of tabs) tab.postMessage(data);
});
