// From a picture to the numbers of the input tensor, as preprocessing in model.json says, to the byte.
// The resize is not the canvas's: browsers do not agree on that one.

const WEIGHT_BITS = 22;
const ARRAYS = { uint8: Uint8Array, float32: Float32Array }; // what LiteRT.js takes

/** A PNG, JPEG, … (Blob) → {width, height, data: Uint8Array, red first}: upright, transparency over black. */
export async function decode(blob, rules) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  if (width * height > rules.max_pixels) {
    throw new Error(`The image has more than ${rules.max_pixels.toLocaleString("en")} pixels.`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data: rgba } = context.getImageData(0, 0, width, height);
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return { width, height, data };
}

/** Decoded pixels → pixels of the model's size. */
export function resize(image, { fit, resize: { height, width } }) {
  const cut = centre(image, seen(image, fit, height, width));
  const columns = { count: width, step: 3, lines: cut.height, lineStep: width * 3 };
  const narrow = pass(
    cut.data,
    { count: cut.width, step: 3, lineStep: cut.width * 3 },
    columns,
    cut.height * width * 3,
  );
  const rows = { count: height, step: width * 3, lines: width, lineStep: 3 };
  const data = pass(narrow, { ...rows, count: cut.height }, rows, height * width * 3);
  return { width, height, data };
}

/** Pixels of the model's size → the input tensor's numbers. */
export function scale({ data }, { dtype, multiply, add }) {
  if (!(dtype in ARRAYS)) {
    throw new Error(
      `LiteRT.js takes no ${dtype} inputs. Make the bundle from a file with uint8 or float32 input.`,
    );
  }
  const round = dtype === "uint8" ? halfEven : (value) => value;
  const levels = ARRAYS[dtype].from({ length: 256 }, (_, u) => round(u * multiply + add));
  return ARRAYS[dtype].from(data, (u) => levels[u]);
}

/** How much the model sees: all, or the largest rectangle of its shape; of either the middle. */
function seen({ width: w, height: h }, { mode, central_fraction: fraction = 1 }, height, width) {
  const side = Math.min(h / height, w / width);
  const [high, wide] = mode === "crop" ? [side * height, side * width] : [h, w];
  return {
    cutHeight: Math.min(h, Math.max(1, halfEven(high * fraction))),
    cutWidth: Math.min(w, Math.max(1, halfEven(wide * fraction))),
  };
}

/** The centre of an image. */
function centre(image, { cutHeight, cutWidth }) {
  const { width: w, height: h, data } = image;
  if (cutHeight === h && cutWidth === w) return image;
  const top = Math.floor((h - cutHeight) / 2);
  const left = Math.floor((w - cutWidth) / 2);
  const cut = new Uint8Array(cutHeight * cutWidth * 3);
  for (let y = 0; y < cutHeight; y++) {
    const start = ((top + y) * w + left) * 3;
    cut.set(data.subarray(start, start + cutWidth * 3), y * cutWidth * 3);
  }
  return { width: cutWidth, height: cutHeight, data: cut };
}

/** One direction of the resize: every line of `from.count` pixels becomes `to.count`; steps in bytes. */
function pass(input, from, to, size) {
  const output = new Uint8Array(size);
  const ratio = from.count / to.count;
  const stretch = Math.max(ratio, 1); // antialias: the kernel widens when it shrinks
  const inverse = 1 / stretch;
  for (let i = 0; i < to.count; i++) {
    const middle = (i + 0.5) * ratio;
    const first = Math.max(Math.trunc(middle - stretch + 0.5), 0);
    const last = Math.min(Math.trunc(middle + stretch + 0.5), from.count);
    const shares = [];
    let total = 0;
    for (let j = first; j < last; j++) {
      const share = Math.max(0, 1 - Math.abs((j - middle + 0.5) * inverse));
      shares.push(share);
      total += share;
    }
    const weights = shares.map((share) => Math.trunc(0.5 + (share / total) * 2 ** WEIGHT_BITS));
    for (let line = 0; line < to.lines; line++) {
      const start = line * from.lineStep + first * from.step;
      const target = line * to.lineStep + i * to.step;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (WEIGHT_BITS - 1);
        for (let j = 0; j < weights.length; j++) {
          sum += input[start + j * from.step + channel] * weights[j];
        }
        output[target + channel] = Math.min(sum >> WEIGHT_BITS, 255);
      }
    }
  }
  return output;
}

function halfEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}
