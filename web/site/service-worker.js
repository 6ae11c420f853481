/**
 * Keeps the site for use without a network, and adds the headers that wasm threads need.
 *
 * `site-files.js`, which Python writes, has the names of the files and a version that changes with any of them. Programs of
 * LiteRT.js are kept when they are first used, since a browser needs one of the four.
 */

const scope = /** @type {any} */ (self);
scope.importScripts("site-files.js");
/** @type {{version: string, files: string[]}} */
const site = scope.SITE;
// A host may have several sites, each with caches of its own.
const PREFIX = `bokeh ${scope.registration.scope} `;
const NAME = PREFIX + site.version;
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

// An update waits until no page is open: a page would get modules and models of the new version beside its own.
scope.addEventListener("install", (/** @type {any} */ event) => {
  const kept = site.files.filter((name) => !name.startsWith("litert/wasm/"));
  // Past the browser's own cache, which may still hold files of an earlier version.
  const requests = ["./", ...kept].map((name) => new Request(name, { cache: "reload" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(requests)));
});

scope.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil(removeOlder().then(() => scope.clients.claim()));
});

scope.addEventListener("fetch", (/** @type {any} */ event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(scope.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});

async function removeOlder() {
  const names = await caches.keys();
  const older = names.filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(older.map((name) => caches.delete(name)));
}

/** @param {Request} request */
async function answer(request) {
  const cache = await caches.open(NAME);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const found = await fetch(request);
  // Where no space is left, the page works with a network alone.
  if (found.ok) await cache.put(request, found.clone()).catch(() => {});
  return isolated(found);
}

/** @param {Response} response */
function isolated(response) {
  if (response.status === 0) return response; // opaque
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}
