/**
 * The worker that runs networks: wasm blocks its thread for seconds, so it is not the page's.
 *
 * It is a classic worker, since LiteRT.js loads its program with `importScripts`, which module workers lack. What it does is
 * in session.js; a message is `{id, task, arguments}`, an answer `{id, value}`, `{id, error}` or `{id, progress}`.
 */

const scope = /** @type {any} */ (self);
const session = import(new URL("session.js", scope.location.href).href).then((module) => new module.Session());

scope.onmessage = async (/** @type {MessageEvent} */ event) => {
  const { id, task, given } = event.data;
  try {
    const opened = await session;
    const progress = (/** @type {string} */ text) => scope.postMessage({ id, progress: text });
    const { value, transfer } = await opened.do(task, given, progress);
    scope.postMessage({ id, value }, transfer);
  } catch (error) {
    scope.postMessage({ id, error: describe(error) });
  }
};

// What cannot be read has no number to answer, so that the page hears of it as of a fault.
scope.onmessageerror = () => {
  throw new Error("the worker could not read what the page sent; try a smaller photo");
};

/** @param {unknown} error */
function describe(error) {
  if (error instanceof Error) return error.name === "Error" ? error.message : `${error.name}: ${error.message}`;
  return String(error);
}
