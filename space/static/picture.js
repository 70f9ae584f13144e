// From a file to the tensor of a model, as zoo/inference/images.py does it: the same refusals, crop, grey and bicubic resizing.
// A lossless picture gives the server's very numbers. A JPEG or lossy WebP is decoded by the browser, which may differ
// from the server's decoder in the last bits of a pixel; the radius holds for the tensor that this page shows.

import { readPicture, refuseMany } from "./file.js";

const MAX_BYTES = 32 * 2 ** 20;
const PRECISION_BITS = 22; // of Pillow's 8-bit resampling

// Float32Array of channels x height x width, values in [0, 1]. Throws an Error of one line.
export async function tensorOf(file, [channels, height, width]) {
  if (file.size > MAX_BYTES) throw new Error(`${file.name}: more than ${MAX_BYTES / 2 ** 20} MiB`);
  const picture = readPicture(new Uint8Array(await file.arrayBuffer()), file.name);
  const { pixels, size } = upright(await decode(picture.pixels, file.name), picture.orientation);
  for (let index = 3; index < pixels.length; index += 4) {
    if (pixels[index] !== 255) throw new Error(`${file.name}: has transparent pixels; put it on a background first`);
  }
  const planes = channels === 1 ? [grey(pixels)] : [0, 1, 2].map((channel) => plane(pixels, channel));
  const tensor = new Float32Array(channels * height * width);
  planes.forEach((values, channel) => {
    const resized = resize(values, size, [width, height]);
    for (let index = 0; index < resized.length; index += 1) {
      tensor[channel * height * width + index] = resized[index] / 255; // rounded to float32, as NumPy does
    }
  });
  return tensor;
}

async function decode(bytes, name) {
  try {
    const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const { width, height } = bitmap;
    refuseMany(name, width, height);
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return { pixels: context.getImageData(0, 0, width, height).data, size: [width, height] };
  } catch (error) {
    throw error.message.startsWith(name) ? error : new Error(`${name}: cannot be decoded`);
  }
}

// The pixels turned as EXIF numbers it.
function upright({ pixels, size }, orientation) {
  if (orientation === 1) return { pixels, size };
  const [width, height] = size;
  const turned = orientation > 4 ? [height, width] : size;
  const [mirrored, flipped] = [[2, 3, 7, 8].includes(orientation), [3, 4, 6, 7].includes(orientation)];
  const source = new Uint32Array(pixels.buffer);
  const result = new Uint32Array(source.length);
  for (let y = 0; y < turned[1]; y += 1) {
    for (let x = 0; x < turned[0]; x += 1) {
      const [column, row] = orientation > 4 ? [y, x] : [x, y];
      result[y * turned[0] + x] = source[(flipped ? height - 1 - row : row) * width + (mirrored ? width - 1 - column : column)];
    }
  }
  return { pixels: new Uint8ClampedArray(result.buffer), size: turned };
}

function plane(pixels, channel) {
  const values = new Uint8Array(pixels.length / 4);
  for (let index = 0; index < values.length; index += 1) values[index] = pixels[4 * index + channel];
  return values;
}

// ITU-R 601-2 luma in Pillow's integers; a grey picture keeps its values.
function grey(pixels) {
  const values = new Uint8Array(pixels.length / 4);
  for (let index = 0; index < values.length; index += 1) {
    const [red, green, blue] = pixels.subarray(4 * index, 4 * index + 3);
    values[index] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return values;
}

// The largest centred region of the wanted proportions, resized by Pillow's antialiased bicubic filter.
function resize(values, [width, height], [wantedWidth, wantedHeight]) {
  const scale = Math.min(width / wantedWidth, height / wantedHeight);
  const cropWidth = Math.max(1, roundHalfEven(wantedWidth * scale));
  const cropHeight = Math.max(1, roundHalfEven(wantedHeight * scale));
  const left = Math.floor((width - cropWidth) / 2);
  const top = Math.floor((height - cropHeight) / 2);
  const rows = resample(values, width, height, left, cropWidth, wantedWidth);
  const turned = transpose(rows, wantedWidth, height);
  return transpose(resample(turned, height, wantedWidth, top, cropHeight, wantedHeight), wantedHeight, wantedWidth);
}

function roundHalfEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

function transpose(values, width, height) {
  const turned = new Uint8Array(values.length);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) turned[column * height + row] = values[row * width + column];
  }
  return turned;
}

// Each row of `width` values to `wanted` values, from its region of `length` that begins at `start`.
function resample(values, width, height, start, length, wanted) {
  const result = new Uint8Array(wanted * height);
  const scale = length / wanted;
  const stretch = Math.max(scale, 1);
  const support = 2 * stretch;
  for (let column = 0; column < wanted; column += 1) {
    const centre = start + (column + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), width);
    const weights = [];
    for (let index = first; index < end; index += 1) weights.push(bicubic((index - centre + 0.5) / stretch));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const fixed = weights.map((weight) => {
      const value = (weight / total) * 2 ** PRECISION_BITS;
      return Math.trunc(value + (value < 0 ? -0.5 : 0.5));
    });
    for (let row = 0; row < height; row += 1) {
      let sum = 2 ** (PRECISION_BITS - 1);
      for (let index = 0; index < fixed.length; index += 1) sum += values[row * width + first + index] * fixed[index];
      result[row * wanted + column] = Math.min(Math.max(Math.floor(sum / 2 ** PRECISION_BITS), 0), 255);
    }
  }
  return result;
}

function bicubic(distance) {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}
