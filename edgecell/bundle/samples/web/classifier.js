// The model on LiteRT.js, and what its numbers mean. The page needs of this module only Classifier with
// open(), card, predict() and answers(); another runtime can stand behind the same names.
import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { decode, resize, scale } from "./preprocess.js";

const WASM = new URL("../wasm/", import.meta.resolve("@litertjs/core"));
const ARRAYS = { uint8: Uint8Array, float32: Float32Array };

export class Classifier {
  /** The model of the bundle at `bundle`, a URL that ends with a slash. */
  static async open(bundle) {
    const card = await (await get(new URL("model.json", bundle))).json();
    if (card.schema !== "edgecell/bundle" || card.schema_version > 2) {
      throw new Error("model.json is of a newer kind than this page knows.");
    }
    for (const [side, { dtype }] of [["input", card.input], ["output", card.output]]) {
      if (!(dtype in ARRAYS)) {
        throw new Error(
          `The model's ${side} is ${dtype}, which LiteRT.js does not take; uint8 and float32 it does.`,
        );
      }
    }
    const bytes = new Uint8Array(await (await get(new URL(card.model.file, bundle))).arrayBuffer());
    await loadLiteRt(WASM.href);
    const model = await loadAndCompile(bytes.slice(), { accelerator: "wasm" });
    const classifier = new Classifier(bundle, card, bytes, model);
    const [, height, width, channels] = card.input.shape;
    await classifier.infer(new ARRAYS[card.input.dtype](height * width * channels)); // warm up
    return classifier;
  }

  constructor(bundle, card, bytes, model) {
    Object.assign(this, { bundle, card, bytes, model });
  }

  /** The input tensor's numbers → the output tensor's. */
  async infer(values) {
    const input = new Tensor(values, this.card.input.shape);
    const outputs = await this.model.run(input);
    const found = (await outputs[0].data()).slice();
    for (const tensor of [input, ...outputs]) tensor.delete(); // else the heap grows
    return found;
  }

  /** An image file → probabilities, those to show, the pixels that the model saw, times in ms. */
  async predict(blob) {
    const { preprocessing, input, output } = this.card;
    const began = performance.now();
    const pixels = resize(await decode(blob, preprocessing.decode), preprocessing);
    const values = scale(pixels, input);
    const ready = performance.now();
    const raw = await this.infer(values);
    const done = performance.now();
    const probabilities = Array.from(raw, (value) =>
      output.scale === null ? value : (value - output.zero_point) * output.scale,
    );
    return {
      probabilities,
      shown: this.calibrated(probabilities),
      pixels,
      milliseconds: { preparation: ready - began, inference: done - ready },
    };
  }

  /** Probabilities to show people: with the temperature, or each label's scaling, where there is one. */
  calibrated(probabilities) {
    const { use, value, floor } = this.card.decision.temperature;
    const scaling = this.card.decision.labels?.scaling;
    if (scaling) {
      return probabilities.map((p, i) => {
        const kept = Math.min(Math.max(p, floor), 1 - floor);
        const logit = Math.log(kept / (1 - kept)) * scaling.slopes[i] + scaling.offsets[i];
        return 1 / (1 + Math.exp(-logit));
      });
    }
    if (!use) return probabilities;
    const logits = probabilities.map((p) => Math.log(Math.max(p, floor)) / value);
    const most = Math.max(...logits);
    const odds = logits.map((logit) => Math.exp(logit - most));
    const sum = odds.reduce((total, odd) => total + odd, 0);
    return odds.map((odd) => odd / sum);
  }

  /** Numbers of the labels to show: one, several where several can hold, none where it is not sure. */
  answers(probabilities) {
    const { task, decision } = this.card;
    const all = probabilities.map((_, i) => i);
    if (task.kind === "multi-label") {
      return all.filter((i) => {
        const own = decision.labels?.thresholds[i] ?? null;
        return own === null ? probabilities[i] > decision.label_threshold : probabilities[i] >= own - 1e-7;
      });
    }
    const most = Math.max(...probabilities);
    const { threshold } = decision.abstention;
    if (threshold !== null && most < threshold - 1e-7) return [];
    return [probabilities.indexOf(most)];
  }
}

export async function get(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname.split("/").pop()} is missing (${answer.status}).`);
  return answer;
}
