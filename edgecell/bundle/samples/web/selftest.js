// Does this browser do with the golden images what the training pipeline did? Each stage is fed what the
// stage before should have given, so that one fault is not reported four times.
import { get } from "./classifier.js";
import { decode, resize, scale } from "./preprocess.js";

export const STAGES = ["decode", "resize", "scale", "inference"];

/** {stage: list of what differs}, all empty where nothing does; `progress` is told shares from 0 to 1. */
export async function selfTest(classifier, progress = () => {}) {
  const { card, bundle } = classifier;
  const folder = new URL(card.golden.file, bundle);
  const golden = await (await get(folder)).json();
  const read = async (name) => (await get(new URL(name, folder))).arrayBuffer();
  const reach = golden.tolerance.quanta * golden.tolerance.quantum;
  const wrong = Object.fromEntries(STAGES.map((stage) => [stage, []]));
  const { height, width } = card.preprocessing.resize;
  for (const [i, test] of golden.cases.entries()) {
    const name = test.image;
    const expected = { height, width, data: new Uint8Array(await read(test.resized.file)) };
    const seen = await decode(new Blob([await read(name)]), card.preprocessing.decode);
    if (seen.width !== test.decoded.width || seen.height !== test.decoded.height) {
      wrong.decode.push(`${name} is ${seen.width} × ${seen.height} pixels`);
    } else if (crc32(seen.data) !== test.decoded.crc32) {
      wrong.decode.push(`${name} has other pixels`);
    } else {
      compare(resize(seen, card.preprocessing).data, expected.data, 0, name, wrong.resize);
    }
    const scaled = scale(expected, card.input);
    const input = new scaled.constructor(await read(test.input.file));
    compare(scaled, input, 0, name, wrong.scale);
    const output = await classifier.infer(input);
    const right = new output.constructor(await read(test.output.file));
    if (compare(output, right, reach, name, wrong.inference) && test.top1 !== null) {
      if (output.indexOf(Math.max(...output)) !== test.top1.index) {
        wrong.inference.push(`${name} is not ${test.top1.label}`);
      }
    }
    progress((i + 1) / golden.cases.length);
  }
  const digest = await crypto.subtle.digest("SHA-256", classifier.bytes);
  const sha256 = Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
  if (sha256 !== card.model.sha256) wrong.inference.push(`${card.model.file} was altered`);
  return { wrong, count: golden.cases.length };
}

/** The lines that all samples print: PASS, or one FAIL for each stage. */
export function verdict({ wrong, count }) {
  const failed = STAGES.filter((stage) => wrong[stage].length);
  if (!failed.length) return [`PASS ${STAGES.join(", ")}: ${count} images`];
  return failed.map((stage) => {
    const { length } = wrong[stage];
    return `FAIL ${stage}: ${length} ${length === 1 ? "fault" : "faults"}; first: ${wrong[stage][0]}`;
  });
}

function compare(found, expected, reach, name, wrong) {
  if (found.length !== expected.length) {
    wrong.push(`${name} gives ${found.length} values, not ${expected.length}`);
    return false;
  }
  const off = Array.from(found, (value, i) => Math.abs(value - expected[i]));
  const beyond = off.filter((difference) => !(difference <= reach)); // not a number counts as off
  if (beyond.length) {
    const most = Math.max(...beyond);
    wrong.push(`${name} differs in ${beyond.length} of ${off.length} values, by up to ${most}`);
  }
  return !beyond.length;
}

/** The checksum of zlib. */
function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}
