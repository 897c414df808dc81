// Talks with a daemon by the types that openapi-typescript has made of its document: adds a job,
// lists it, waits for it, reads its output, shows it, and meets a problem.
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.js";

const base = process.argv[2];
if (base === undefined) throw new Error("usage: main URL");
const client = createClient<paths>({ baseUrl: base });

function check(ok: boolean, what: unknown): asserts ok {
  if (!ok) throw new Error(JSON.stringify(what));
}

const added = await client.POST("/api/v1/activations", {
  body: { arg: ["sh", "-c", "echo from TypeScript; exit 3"], label: "typescript", tag: ["a", "b"] },
});
check(added.data !== undefined, added.error);
const id: string = added.data.id;

const list = await client.GET("/api/v1/activations", { params: { query: { state: ["all"], tag: ["a", "b"] } } });
check(list.data?.items.length === 1 && list.data.items[0]?.id === id, list);

const end = await client.GET("/api/v1/activations/{id}/end", { params: { path: { id } } });
check(end.data?.exit === 3, end);

const log = await client.GET("/api/v1/activations/{id}/log", {
  params: { path: { id } },
  headers: { Accept: "application/jsonl" },
  parseAs: "text",
});
check(log.data !== undefined, log.error);
const lines = String(log.data).trim().split("\n").map((line) => JSON.parse(line) as components["schemas"]["LogOut"]);
check(lines.some((line) => line.text === "from TypeScript\n"), lines);

const show = await client.GET("/api/v1/activations/{id}", { params: { path: { id } } });
check(show.data !== undefined, show.error);
const ended: string | null = show.data.ended;
check(show.data.outcome === "failed" && ended !== null && !Number.isNaN(Date.parse(ended)), show.data);
check(show.data.deadline === undefined && show.data.due === null, show.data);

const missing = await client.GET("/api/v1/activations/{id}", { params: { path: { id: "777" } } });
const problem: components["schemas"]["Problem"] | undefined = missing.error;
check(missing.response.status === 404 && problem?.type === "urn:activationd:problem:not-found", missing);

console.log(id);
