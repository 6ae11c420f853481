/** Photo files in and out of a canvas. */

const JPEG_QUALITY = 0.95;

/**
 * Reads a photo, upright.
 *
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>}
 */
export async function readPhoto(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error("this browser cannot read the file as a photo; choose a JPEG, PNG or WebP file");
  }
}

/**
 * Draws a photo at its own size.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} bitmap
 */
export function drawPhoto(canvas, bitmap) {
  sizedContext(canvas, bitmap.width, bitmap.height).drawImage(bitmap, 0, 0);
}

/**
 * Gives a canvas a size, and returns what draws on it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 * @throws {Error} If the browser does not draw at that size; the canvas is empty then.
 */
export function sizedContext(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context || !draws(context, width, height)) {
    release(canvas);
    throw new Error(`the photo has ${width} x ${height} pixels, more than this browser can draw; choose a smaller one`);
  }
  return context;
}

/**
 * Gives back the memory of a canvas. iPhones limit that of all canvases together, and collect them late.
 *
 * @param {HTMLCanvasElement} canvas
 */
export function release(canvas) {
  canvas.width = 0;
  canvas.height = 0;
}

/**
 * Whether a pixel that is written is there: of a canvas that is too large, browsers return a context that draws nothing.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} width
 * @param {number} height
 */
function draws(context, width, height) {
  const [x, y] = [width - 1, height - 1];
  try {
    context.fillRect(x, y, 1, 1);
    const drawn = context.getImageData(x, y, 1, 1).data[3] === 255;
    context.clearRect(x, y, 1, 1);
    return drawn;
  } catch {
    return false;
  }
}

/**
 * Encodes a canvas as JPEG.
 *
 * @param {HTMLCanvasElement} canvas
 * @returns {Promise<Blob>}
 */
export function canvasBlob(canvas) {
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error("the picture could not be encoded; choose a smaller photo"))),
      "image/jpeg",
      JPEG_QUALITY,
    );
  });
}
