// The page: sends images to the server it came from and shows what that says. No arithmetic here.
const SHOWN = 3;
const AT_A_TIME = 2;
const MOST_IMAGES = 200;
const MOST_READ_OUT = 10;
const $ = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(1)} %`;
const plain = (label) => label.replaceAll("_", " ");
let model;
let waiting = [];
let running = 0;
let told = { asked: 0, done: 0 };

async function start() {
  try {
    model = await ask("/api/model");
  } catch (error) {
    $("about").textContent = "The model could not be asked for.";
    complain(error.message);
    return;
  }
  document.title = `Image classifier: ${model.model}`;
  $("name").textContent = model.model;
  const count = model.labels.length;
  const what = model.task === "multi-label" ? `Decides each of ${count} labels by itself` : `Tells ${count} classes apart`;
  $("about").textContent = `${what}: ${model.labels.map(plain).join(", ")}`;
  $("notice").textContent = model.notice;
  $("use").textContent = model.intended_use;
  if (model.warning !== null) {
    $("unverified").hidden = false;
    $("unverified").firstChild.textContent = model.warning;
  }
  $("notes").replaceChildren(...model.notes.map((note) => element("li", "", note)));
  const { width, height, fit, central_fraction: fraction } = model.input;
  const all = fit === "crop" ? "the largest centred square of an image" : "the whole image";
  const cut = fraction === 1 ? all : `the middle ${percent(fraction)} of each side of ${all}`;
  $("facts").textContent =
    `It sees ${cut}, resized to ${width} × ${height} pixels.${promise()} sha256 ${model.sha256.slice(0, 12)}…`;
  $("check").hidden = !model.self_test;
  $("choose").disabled = false;
}

function promise() {
  const parts = [];
  if (model.abstain_below !== null) parts.push(` It answers from a probability of ${percent(model.abstain_below)} on.`);
  if (model.temperature !== null && model.temperature !== 1) {
    parts.push(" Probabilities are calibrated; in brackets are the model's own, to which thresholds apply.");
  }
  if (model.coverage !== null && model.set_from !== null) {
    parts.push(` The right class is among the candidates in ${percent(model.coverage)} of images like those of validation.`);
  }
  return parts.join("");
}

async function ask(path, body) {
  const request = body === undefined ? {} : { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } };
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Error("The program that serves this page does not answer any more. Start it again.");
  }
  const found = response.status === 503 ? {} : await response.json();
  if (!response.ok) throw new Error(found.problem ?? "The program is busy. Try this image again.");
  return found;
}

function take(files) {
  complain("");
  const images = [...files];
  if (images.length > MOST_IMAGES) {
    complain(`The first ${MOST_IMAGES} of ${images.length} images are shown; for more there is “edgecell predict”.`);
  }
  for (const file of images.slice(0, MOST_IMAGES)) {
    const card = element("article");
    card.append(thumbnail(file), element("h3", "", file.name), element("p", "answer none", "Waiting …"));
    $("answers").append(card);
    waiting.push({ file, card });
    told.asked++;
  }
  $("clear").hidden = !told.asked;
  report();
  work();
}

async function work() {
  while (running < AT_A_TIME && waiting.length) {
    const { file, card } = waiting.shift();
    running++;
    answer(file, card).finally(() => {
      running--;
      if (card.isConnected) told.done++;
      report();
      work();
    });
  }
}

async function answer(file, card) {
  try {
    if (file.size > model.limits.bytes) {
      throw new Error(`The file is larger than ${Math.floor(model.limits.bytes / 1e6)} MB.`);
    }
    readOut(file.name, ...show(card, await ask("/api/classify", await read(file))));
  } catch (error) {
    readOut(file.name, error.message);
    card.querySelector(".answer").className = "answer failed";
    card.querySelector(".answer").textContent = error.message;
  }
}

async function read(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Error("The browser cannot read this file.");
  }
}

function show(card, found) {
  const [answer, reason] = words(found);
  const line = card.querySelector(".answer");
  line.textContent = answer;
  line.classList.toggle("none", !found.answer.length);
  card.append(element("p", "reason", reason));
  const bars = element("ol", "bars");
  bars.setAttribute("role", "list");
  bars.setAttribute("aria-label", "The most probable classes");
  const said = (row) => found.answer.includes(row.label);
  bars.append(...found.top.filter((row, place) => place < SHOWN || said(row)).map((row) => bar(row, said(row))));
  card.append(bars);
  if (found.set !== null) card.append(element("p", "set", candidates(found.set)));
  const { preparation, inference } = found.milliseconds;
  card.append(
    element(
      "p",
      "times small",
      `${found.width} × ${found.height} pixels. Preparation ${preparation.toFixed(1)} ms, inference ${inference.toFixed(1)} ms.`,
    ),
  );
  return [answer, reason];
}

/** To a screen reader; of many images it only hears how many are done. */
function readOut(name, ...sentences) {
  if (told.asked <= MOST_READ_OUT) $("said").append(element("p", "", `${name}: ${sentences.join(". ")}`));
}

function words(found) {
  const shown = (row) => row.calibrated ?? row.probability;
  if (found.answer.length) {
    const rows = found.top.filter((row) => found.answer.includes(row.label));
    const grade = found.mean_grade === undefined ? "" : `; mean grade ${found.mean_grade.toFixed(2)}`;
    return [found.answer.map(plain).join(" and "), `Probability ${rows.map((row) => percent(shown(row))).join(" and ")}${grade}`];
  }
  if (model.task === "multi-label") {
    const limit = `No probability is above ${percent(model.label_threshold)}.`;
    return ["None of the findings", model.label_thresholds ? "No label reaches its threshold." : limit];
  }
  const best = found.top[0];
  return [
    "Not sure",
    `The model answers from ${percent(model.abstain_below)} on; of its best guess it says ${percent(best.probability)}.`,
  ];
}

function candidates(labels) {
  return `Candidates: ${labels.map(plain).join(", ") || "none, no class is likely enough"}`;
}

function bar(row, chosen) {
  const item = element("li", chosen ? "chosen" : "");
  const p = row.calibrated ?? row.probability;
  const share = element("span", "share", percent(p));
  if (row.calibrated !== null && model.temperature !== 1) {
    share.append(element("span", "own", ` (${percent(row.probability)})`));
  }
  const track = element("span", "track");
  track.setAttribute("aria-hidden", "true");
  track.append(element("span", "bar"));
  track.firstChild.style.width = `${100 * p}%`;
  item.append(element("span", "label", plain(row.label)), share, track);
  return item;
}

function thumbnail(file) {
  const image = element("img", "thumb");
  image.alt = "";
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  image.addEventListener("error", () => {
    URL.revokeObjectURL(image.src);
    image.replaceWith(element("div", "thumb", "no preview"));
  });
  return image;
}

function report() {
  const { asked, done } = told;
  const images = asked === 1 ? "1 image" : `${asked} images`;
  $("status").textContent = !asked ? "No image yet" : done < asked ? `${done} of ${images}` : images;
}

function complain(text) {
  $("problem").textContent = text;
}

async function test() {
  $("test").disabled = true;
  $("stages").replaceChildren();
  $("verdict").className = "";
  $("verdict").textContent = "Testing …";
  try {
    const found = await ask("/api/self-test", "");
    $("stages").replaceChildren(
      ...Object.entries(found.stages).map(([stage, { faults, first }]) =>
        element("li", faults ? "bad" : "good", faults ? `${stage}: ${first}` : `${stage}: as it must be`),
      ),
    );
    $("verdict").className = found.passed ? "good" : "bad";
    $("verdict").textContent = found.lines.join("\n");
  } catch (error) {
    $("verdict").className = "bad";
    $("verdict").textContent = `The self-test could not be run: ${error.message}`;
  }
  $("test").disabled = false;
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  take($("file").files);
  $("file").value = ""; // so that the same files can be chosen again
});
$("clear").addEventListener("click", () => {
  waiting = [];
  told = { asked: 0, done: 0 };
  $("answers").replaceChildren();
  $("said").replaceChildren();
  $("clear").hidden = true;
  $("choose").focus();
  complain("");
  report();
});
$("test").addEventListener("click", test);

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser leaves the page to show the file
    $("frame").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && model) take(event.dataTransfer.files);
  });
}

function element(name, className = "", text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

start();
