/** LiteRT.js in a loop and nothing else: what the pages' own times are compared with. */

const scope = /** @type {any} */ (self);
const folder = new URL("../litert/", scope.location.href).href;
/** @type {typeof import("@litertjs/core")} */
let litert;
/** @type {import("@litertjs/core").CompiledModel} */
let model;
/** @type {number[]} */
let shape;
/** @type {Float32Array} */
let values;

scope.onmessage = async (/** @type {MessageEvent} */ { data }) => {
  if (data.open) {
    litert = await import(`${folder}litert.js`);
    scope.Module = { locateFile: (/** @type {string} */ name) => `${folder}wasm/${name}` };
    await litert.loadLiteRt(`${folder}wasm/`);
    model = await litert.loadAndCompile(data.open.url, { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
    ({ shape } = data.open);
    values = Float32Array.from({ length: shape.reduce((size, side) => size * side, 1) }, Math.random);
    scope.postMessage(null);
    return;
  }
  const times = [];
  for (let i = 0; i < data.runs; i++) {
    const start = performance.now();
    const input = new litert.Tensor(values, shape);
    const [output] = await model.run([input]);
    await output.data();
    input.delete();
    output.delete();
    times.push(performance.now() - start);
  }
  scope.postMessage(times);
};
