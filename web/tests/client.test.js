/** The page's side of the worker, with a worker that is worked by hand. */

import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { InferenceWorker } from "../site/inference/client.js";

class StubWorker {
  /** @type {any[]} */
  sent = [];
  terminated = false;
  /** @type {(event: any) => void} */
  onmessage = () => {};
  /** @type {(event: any) => void} */
  onerror = () => {};
  onmessageerror = () => {};

  /** @param {any} message */
  postMessage(message) {
    this.sent.push(message);
  }

  terminate() {
    this.terminated = true;
  }
}

/** @type {InferenceWorker} */
let client;
/** @type {StubWorker} */
let stub;

beforeEach(() => {
  /** @type {any} */ (globalThis).Worker = StubWorker;
  client = new InferenceWorker();
  stub = /** @type {any} */ (client.worker);
});

test("an answer is that of its call", async () => {
  const calls = [client.call("open", 1), client.call("time", 2)];
  stub.onmessage({ data: { id: 1, value: "second" } });
  stub.onmessage({ data: { id: 0, error: "no model" } });
  await assert.rejects(calls[0], /^Error: no model$/);
  assert.equal(await calls[1], "second");
});

test("a worker that has failed rejects the calls that wait and those that follow", async () => {
  const waiting = client.call("open", {});
  stub.onerror({ message: "out of memory", preventDefault() {} });
  await assert.rejects(waiting, /out of memory/);
  await assert.rejects(client.call("render", {}), /out of memory/);
  assert.equal(stub.sent.length, 1);
  assert.ok(stub.terminated);
  assert.equal(client.ended, "out of memory");
});

test("a worker whose answer cannot be read has ended", async () => {
  const waiting = client.call("render", {});
  stub.onmessageerror();
  await assert.rejects(waiting, /could not be read/);
  assert.ok(stub.terminated);
});

test("the first reason stays", async () => {
  client.end("out of memory");
  client.end();
  await assert.rejects(client.call("render", {}), /out of memory/);
});

test("what cannot be sent is no call that waits", async () => {
  stub.postMessage = () => {
    throw new Error("cannot be cloned");
  };
  await assert.rejects(client.call("open", {}), /cannot be cloned/);
  assert.equal(client.waiting.size, 0);
});
