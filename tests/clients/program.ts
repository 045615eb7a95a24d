// Every operation on every collection, by the types that openapi-typescript makes.
//
// Type-checked strictly, and then run against a server: URL and TOKEN are in the environment.
import createClient from "openapi-fetch";
import type { components, paths } from "./listo.js";

declare const process: { env: Record<string, string | undefined> };
type Schemas = components["schemas"];

const client = createClient<paths>({
  baseUrl: process.env["URL"] ?? "",
  headers: { Authorization: `Bearer ${process.env["TOKEN"]}` },
});

function same<T>(found: T, expected: T): void {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

/** The data, which is neither a problem nor missing. */
function known<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

async function useBooks(): Promise<void> {
  const author: Schemas["books.person"] = { name: "Melville", teacher: { name: "Hawthorne" } };
  const sent: Schemas["books.input"] = { title: "Moby Dick", year: 1851, kind: "novel", authors: [author] };
  // @ts-expect-error: no year is a string.
  ({ title: "Moby Dick", year: "1851" }) satisfies Schemas["books.input"];
  // @ts-expect-error: every book has a title.
  ({ year: 1851 }) satisfies Schemas["books.input"];
  const made = known(await client.POST("/collections/books/records", { body: sent }));
  same(made.authors?.[0]?.teacher?.name, "Hawthorne");
  const one = { params: { path: { record_id: made.id } } };
  same(known(await client.GET("/collections/books/records/{record_id}", one)).kind, "novel");
  const page = known(
    await client.GET("/collections/books/records", { params: { query: { filter: "year > 1800", limit: 1 } } }),
  );
  same(page.items.map((item) => item.id), [made.id]);
  const body: Schemas["books.patch"] = { year: null };
  const changed = known(await client.PATCH("/collections/books/records/{record_id}", { ...one, body }));
  same([changed.title, changed.year, changed.version], ["Moby Dick", undefined, 2]);
  const late = await client.PATCH("/collections/books/records/{record_id}", {
    params: { ...one.params, header: { "If-Match": '"1"' } },
    body,
  });
  same(late.error?.code, "version_conflict");
  const whole = { title: "Typee", publisher: { name: "Wiley" } };
  const replaced = known(await client.PUT("/collections/books/records/{record_id}", { ...one, body: whole }));
  same([replaced.publisher?.name, replaced.authors], ["Wiley", undefined]);
  const operations: Schemas["books.batch"]["operations"] = [
    { op: "create", data: { title: "Omoo" } },
    { op: "update", id: made.id, data: { title: "Mardi" } },
    { op: "delete", id: made.id },
  ];
  const done = known(await client.POST("/collections/books/records:batch", { body: { operations } }));
  same(done.results.map((result) => result.version), [1, replaced.version + 1, null]);
  const rest = { params: { path: { record_id: done.results[0]?.id ?? "" } } };
  same((await client.DELETE("/collections/books/records/{record_id}", rest)).response.status, 204);
}

async function useFlags(): Promise<void> {
  const sent: Schemas["flags.input"] = {
    on: true, either: false, level: 2, ratio: 0.5, mixed: "auto", one: 1, size: { w: 1.5 }, any: [1],
  };
  // @ts-expect-error: there is no fourth level.
  ({ on: true, level: 4 }) satisfies Schemas["flags.input"];
  const made = known(await client.POST("/collections/flags/records", { body: sent }));
  const one = { params: { path: { record_id: made.id } } };
  const got = known(await client.GET("/collections/flags/records/{record_id}", one));
  same([got.on, got.either, got.level, got.ratio, got.mixed, got.size],
       [true, false, 2, 0.5, "auto", { w: 1.5 }]);
  const changed = known(
    await client.PATCH("/collections/flags/records/{record_id}", { ...one, body: { either: null, level: 3 } }),
  );
  same([changed.either, changed.level], [undefined, 3]);
  const whole: Schemas["flags.input"] = { on: true, mixed: 2.5, size: 7 };
  const replaced = known(await client.PUT("/collections/flags/records/{record_id}", { ...one, body: whole }));
  same([replaced.mixed, replaced.size, replaced.level], [2.5, 7, undefined]);
  same(known(await client.GET("/collections/flags/records")).items.length, 1);
  const operations: Schemas["flags.batch"]["operations"] = [{ op: "delete", id: made.id }];
  known(await client.POST("/collections/flags/records:batch", { body: { operations } }));
  same((await client.DELETE("/collections/flags/records/{record_id}", one)).response.status, 404);
}

async function useTrees(): Promise<void> {
  const sent: Schemas["tree_Dash_nodes.input"] = {
    name: "root", children: [{ name: "leaf", at: "2026-01-31T00:00:00Z", children: [] }],
  };
  const made = known(await client.POST("/collections/tree-nodes/records", { body: sent }));
  const one = { params: { path: { record_id: made.id } } };
  const got = known(await client.GET("/collections/tree-nodes/records/{record_id}", one));
  same(got.children?.[0]?.name, "leaf");
  const body = { children: null, alias: "other" };
  const changed = known(await client.PATCH("/collections/tree-nodes/records/{record_id}", { ...one, body }));
  same([changed.children, changed.alias], [undefined, "other"]);
  const whole = { name: "alone" };
  const replaced = known(await client.PUT("/collections/tree-nodes/records/{record_id}", { ...one, body: whole }));
  same([replaced.name, replaced.alias], ["alone", undefined]);
  same(known(await client.GET("/collections/tree-nodes/records")).items.length, 1);
  const operations: Schemas["tree_Dash_nodes.batch"]["operations"] = [
    { op: "update", id: made.id, data: { name: "changed" } },
  ];
  known(await client.POST("/collections/tree-nodes/records:batch", { body: { operations } }));
  same((await client.DELETE("/collections/tree-nodes/records/{record_id}", one)).response.status, 204);
}

await useBooks();
await useFlags();
await useTrees();
