/** Images, and where a photo lies within a network's input: `bokeh_runtime.imaging.resample.Frame`. */

/**
 * Floats `[height, width, channels]`, rows first.
 *
 * @typedef {{height: number, width: number, channels: number, values: Float32Array}} FloatImage
 */

/**
 * A photo, upright: RGBA bytes `[height, width, 4]`, as a canvas has them. Alpha is ignored and kept.
 *
 * @typedef {{height: number, width: number, rgba: Uint8ClampedArray}} Photo
 */

/**
 * An image of zeros, or of the given values.
 *
 * @param {number} height
 * @param {number} width
 * @param {number} channels
 * @param {Float32Array} [values]
 * @returns {FloatImage}
 */
export function floatImage(height, width, channels, values) {
  const size = height * width * channels;
  if (values && values.length !== size) {
    throw new RangeError(`${values.length} values for ${height} x ${width} x ${channels}`);
  }
  return { height, width, channels, values: values ?? new Float32Array(size) };
}

/**
 * A photo's colours in 0 to 1.
 *
 * @param {Photo} photo
 * @returns {FloatImage}
 */
export function toUnit(photo) {
  const image = floatImage(photo.height, photo.width, 3);
  for (let i = 0, at = 0; i < photo.rgba.length; i += 4) {
    for (let channel = 0; channel < 3; channel++) image.values[at++] = photo.rgba[i + channel] / 255;
  }
  return image;
}

/**
 * Whether two images have the same shape.
 *
 * @param {FloatImage} one
 * @param {FloatImage} other
 */
export function sameShape(one, other) {
  return one.height === other.height && one.width === other.width && one.channels === other.channels;
}

/**
 * The index within `0 .. size - 1` that a mirror at the edges shows; edges are shown twice.
 *
 * @param {number} index
 * @param {number} size
 */
export function mirrored(index, size) {
  const around = modulo(index, 2 * size);
  return around < size ? around : 2 * size - 1 - around;
}

/**
 * As `mirrored`, but edges are shown once.
 *
 * @param {number} index
 * @param {number} size
 */
export function reflected(index, size) {
  if (size === 1) return 0;
  const around = modulo(index, 2 * size - 2);
  return around < size ? around : 2 * size - 2 - around;
}

/**
 * Rounds half to even, as Python does.
 *
 * @param {number} value
 */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** The area of a photo within a network's input, in pixels: centred, with its aspect ratio. */
export class Frame {
  /**
   * @param {number} top
   * @param {number} left
   * @param {number} height
   * @param {number} width
   */
  constructor(top, left, height, width) {
    this.top = top;
    this.left = left;
    this.height = height;
    this.width = width;
  }

  /**
   * The largest frame with a photo's aspect ratio.
   *
   * @param {number} photoHeight
   * @param {number} photoWidth
   * @param {number} networkHeight
   * @param {number} networkWidth
   */
  static within(photoHeight, photoWidth, networkHeight, networkWidth) {
    const factor = Math.min(networkHeight / photoHeight, networkWidth / photoWidth);
    const height = Math.min(networkHeight, Math.max(1, roundHalfEven(photoHeight * factor)));
    const width = Math.min(networkWidth, Math.max(1, roundHalfEven(photoWidth * factor)));
    const top = Math.floor((networkHeight - height) / 2);
    return new Frame(top, Math.floor((networkWidth - width) / 2), height, width);
  }

  /**
   * The same frame in an image of `factor` times the height and width.
   *
   * @param {number} factor
   */
  scaled(factor) {
    const [top, left, height, width] = [this.top, this.left, this.height, this.width].map((side) =>
      roundHalfEven(side * factor),
    );
    return new Frame(top, left, Math.max(1, height), Math.max(1, width));
  }

  /**
   * The part of an image within the frame.
   *
   * @param {FloatImage} image
   */
  crop(image) {
    const { channels } = image;
    const cropped = floatImage(this.height, this.width, channels);
    const line = this.width * channels;
    for (let row = 0; row < this.height; row++) {
      const from = ((this.top + row) * image.width + this.left) * channels;
      cropped.values.set(image.values.subarray(from, from + line), row * line);
    }
    return cropped;
  }

  /**
   * Pads an image of the frame's size to the network's input size. The margins mirror the image, so that its mean and
   * variance, which instance normalization uses, hardly change.
   *
   * @param {FloatImage} image
   * @param {number} networkHeight
   * @param {number} networkWidth
   */
  pad(image, networkHeight, networkWidth) {
    const { channels } = image;
    const padded = floatImage(networkHeight, networkWidth, channels);
    let at = 0;
    for (let row = 0; row < networkHeight; row++) {
      const line = mirrored(row - this.top, this.height) * this.width;
      for (let column = 0; column < networkWidth; column++) {
        const from = (line + mirrored(column - this.left, this.width)) * channels;
        for (let channel = 0; channel < channels; channel++) {
          padded.values[at++] = image.values[from + channel];
        }
      }
    }
    return padded;
  }
}

/**
 * @param {number} value
 * @param {number} size
 */
function modulo(value, size) {
  return ((value % size) + size) % size;
}
