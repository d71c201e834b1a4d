// Outputs and times of .tflite files in LiteRT.js. Jobs come from the server that this page came from, and
// what was measured goes back to it. The turns are those of benchmarks/latency.py.
import { loadAndCompile, loadLiteRt, Tensor, unloadLiteRt } from "@litertjs/core";

const WASM = "litertjs/core/wasm/";
const ARRAYS = { uint8: Uint8Array, int8: Int8Array, int16: Int16Array, float32: Float32Array };
const CHUNK = 64; // images between two signs of life
const TIMED_IMAGES = 64;

async function main() {
  performance.setResourceTimingBufferSize(1e6); // facts() reads it; every sign of life is an entry, and 250 is little
  const { jobs, options } = await (await fetch("jobs.json")).json();
  const images = {};
  for (const job of jobs) {
    images[job.images] ??= new Uint8Array(await (await fetch(job.images)).arrayBuffer());
    job.model = new Uint8Array(await (await fetch(job.model)).arrayBuffer());
    job.pixels = images[job.images];
    job.length = job.height * job.width * 3;
    job.count = job.pixels.length / job.length;
  }
  await loadLiteRt(WASM);
  const models = [];
  for (const [i, job] of jobs.entries()) {
    const share = (done) => (0.4 * (i + done)) / jobs.length;
    models.push(await answered(job, (done) => say(`answers of ${job.name}`, share(done))));
  }
  for (const threads of options.threads) await timeAll(jobs, models, threads, options);
  return { models, facts: facts() };
}

// All outputs of one model, or why there are none.
async function answered(job, progress) {
  const outputs = [];
  let model;
  try {
    model = await loadAndCompile(job.model, { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
    const input = feeder(job);
    for (let at = 0; at < job.count; at++) {
      if (at % CHUNK === 0) await progress(at / job.count);
      outputs.push(Array.from(await invoke(model, job, input, at)));
    }
  } catch (error) {
    return { reason: String(error?.message ?? error), timings: [] };
  } finally {
    model?.delete();
  }
  return { outputs, timings: [] };
}

// Where the input's values come from: the pixels themselves where they are the values.
function feeder(job) {
  const kind = ARRAYS[job.dtype];
  const same = job.dtype === "uint8" && job.values.every((value, pixel) => value === pixel);
  const table = kind.from(job.values);
  const buffer = new kind(job.length);
  return (at) => {
    const image = job.pixels.subarray(at * job.length, (at + 1) * job.length);
    if (same) return image;
    for (let i = 0; i < image.length; i++) buffer[i] = table[image[i]];
    return buffer;
  };
}

// One inference as an app does it: pixels to a tensor, run, the output read. Tensors are freed by hand.
async function invoke(model, job, input, at) {
  const tensor = new Tensor(input(at), [1, job.height, job.width, 3]);
  const [output] = await model.run(tensor);
  const values = await output.data();
  tensor.delete();
  output.delete();
  return values;
}

// Times of all models that answered, in turn, with one number of threads.
async function timeAll(jobs, models, threads, options) {
  const takingPart = jobs.map((job, i) => [job, models[i]]).filter(([, model]) => model.outputs);
  try {
    unloadLiteRt();
    await loadLiteRt(WASM, { threads: threads > 1 });
  } catch (error) {
    for (const model of models) model.timings.push({ threads, reason: String(error?.message ?? error) });
    return;
  }
  const runners = [];
  for (const [job] of takingPart) runners.push(await opened(job, threads, options.loads));
  await inTurn(runners, options.pace, (share) => say(`latency, ${threads} threads`, 0.4 + 0.6 * share));
  takingPart.forEach(([, model], i) => {
    const { load, first, samples, turns } = runners[i];
    model.timings.push({ threads, load, first, samples, turns });
    runners[i].model.delete();
  });
}

// A model opened several times, each with its first inference; the last one stays.
async function opened(job, threads, loads) {
  const runner = { job, input: feeder(job), load: [], first: [], samples: [], turns: [], spent: 0, model: null };
  for (let i = 0; i < loads; i++) {
    runner.model?.delete();
    const start = performance.now();
    runner.model = await loadAndCompile(job.model, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
    const loaded = performance.now();
    await invoke(runner.model, job, runner.input, 0);
    runner.first.push(performance.now() - loaded);
    runner.load.push(loaded - start);
  }
  return runner;
}

async function inTurn(runners, pace, progress) {
  for (const runner of runners) for (let i = 0; i < pace.warmup_runs; i++) await once(runner, i);
  const share = ({ samples, spent }) => {
    const [byRuns, byTime] = [samples.length / pace.runs, spent / (pace.seconds * 1000)];
    return pace.seconds === 0 ? byRuns : pace.either ? Math.max(byRuns, byTime) : Math.min(byRuns, byTime);
  };
  const least = () => Math.min(...runners.map(share), 1);
  for (let turn = 0; least() < 1; turn++) {
    await progress(least());
    for (let position = 0; position < runners.length; position++) {
      const runner = runners[(turn + position) % runners.length]; // nobody always follows the same model
      if (pace.cooldown) await new Promise((done) => setTimeout(done, pace.cooldown * 1000));
      await oneTurn(runner, pace);
    }
  }
}

async function oneTurn(runner, pace) {
  const end = performance.now() + pace.settle_ms;
  for (let i = 0; i < 2 || performance.now() < end; i++) await once(runner, i);
  runner.turns.push(runner.samples.length);
  for (let total = 0, runs = 0; total < pace.turn_ms && runs < pace.turn_runs; runs++) {
    const start = performance.now();
    await once(runner, runner.samples.length);
    const took = performance.now() - start;
    runner.samples.push(took);
    runner.spent += took;
    total += Math.max(took, 0.001);
  }
}

function once({ model, job, input }, run) {
  return invoke(model, job, input, run % Math.min(job.count, TIMED_IMAGES));
}

function facts() {
  const files = performance.getEntriesByType("resource").map(({ name }) => name.split("/").pop());
  return {
    agent: navigator.userAgent,
    cores: navigator.hardwareConcurrency,
    isolated: crossOriginIsolated,
    builds: [...new Set(files.filter((name) => name.endsWith(".wasm")))],
  };
}

function post(path, data) {
  return fetch(path, { method: "POST", body: JSON.stringify(data) });
}

let said = -Infinity;

// A sign of life, at most twice a second.
async function say(text, share) {
  if (performance.now() - said < 500) return;
  said = performance.now();
  document.getElementById("said").textContent = text;
  await post("progress", { text, share });
}

main().then(
  (result) => post("result", result),
  (error) => post("failure", { message: String(error?.stack ?? error) }),
);
