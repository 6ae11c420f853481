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
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) {
    throw new Error(
      `the photo has ${bitmap.width} x ${bitmap.height} pixels, more than this browser can draw; choose a smaller one`,
    );
  }
  context.drawImage(bitmap, 0, 0);
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
