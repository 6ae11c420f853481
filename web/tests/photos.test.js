/** Photos on canvases that draw, and on those that do not. */

import assert from "node:assert/strict";
import test from "node:test";

import { drawPhoto } from "../site/demo/photos.js";

/**
 * A canvas that draws up to a number of pixels, as those of browsers: with more, nothing, without an error.
 *
 * @param {number} most
 */
function canvas(most) {
  let alpha = 0;
  const made = {
    width: 0,
    height: 0,
    drawn: /** @type {unknown} */ (null),
    getContext: () => ({
      fillRect: () => (alpha = made.width * made.height <= most ? 255 : 0),
      clearRect: () => (alpha = 0),
      getImageData: () => ({ data: [0, 0, 0, alpha] }),
      drawImage: (/** @type {unknown} */ bitmap) => (made.drawn = bitmap),
    }),
  };
  return made;
}

test("a photo is drawn at its own size", () => {
  const [made, bitmap] = [canvas(12), /** @type {any} */ ({ width: 4, height: 3 })];
  drawPhoto(/** @type {any} */ (made), bitmap);
  assert.deepEqual([made.width, made.height, made.drawn], [4, 3, bitmap]);
});

test("a photo that is too large for the canvas is refused, and takes no memory", () => {
  const made = canvas(11);
  const bitmap = /** @type {any} */ ({ width: 4, height: 3 });
  assert.throws(() => drawPhoto(/** @type {any} */ (made), bitmap), /4 x 3 pixels, more than this browser can draw/);
  assert.deepEqual([made.width, made.height, made.drawn], [0, 0, null]);
});
