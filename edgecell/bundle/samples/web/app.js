// The page: shows what Classifier and selfTest say. No arithmetic here.
import { Classifier } from "./classifier.js";
import { selfTest, STAGES, verdict } from "./selftest.js";

const SHOWN = 3;
const bundle = new URL(document.documentElement.dataset.bundle, document.baseURI);
const $ = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(1)} %`;
const plain = (label) => label.replaceAll("_", " ");
let classifier;
let turn = 0; // of several images in a row only the last is shown

async function start() {
  try {
    if (!window.isSecureContext) {
      throw new Error("Open this page over https or as http://127.0.0.1: browsers demand it.");
    }
    classifier = await Classifier.open(bundle);
  } catch (error) {
    $("about").textContent = "The model could not be loaded.";
    complain(error);
    return;
  }
  introduce(classifier.card);
  for (const id of ["choose", "test"]) $(id).disabled = false;
  $("camera").disabled = !navigator.mediaDevices;
}

function introduce(card) {
  document.title = `Image classifier: ${card.name}`;
  $("about").textContent = `Tells ${card.labels.length} classes apart: ${card.labels.map(plain).join(", ")}`;
  $("notice").textContent = card.notice;
  $("use").textContent = card.intended_use;
  if (card.verified.status !== "passed") {
    $("unverified").hidden = false;
    $("unverified").firstChild.textContent = card.verified.sentence;
  }
  $("count").textContent = card.golden.count;
  const licence = card.licence.model ?? "none stated";
  $("facts").textContent =
    `Model ${card.name}, sha256 ${card.model.sha256.slice(0, 12)}…, ${card.model.size_bytes.toLocaleString("en")} bytes. Licence: ${licence}.`;
}

async function classify(blob, name) {
  const mine = ++turn;
  $("problem").textContent = "";
  try {
    const found = await classifier.predict(blob);
    if (mine !== turn) return;
    showPicture(blob, name);
    show(found);
  } catch (error) {
    if (mine !== turn) return;
    clear("No answer");
    const unreadable = error.name === "InvalidStateError";
    complain(unreadable ? new Error(`${name} is no image that this browser reads.`) : error);
  }
}

function showPicture(blob, name) {
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(blob);
  $("preview").alt = `The image that was classified: ${name}`;
  $("preview").hidden = false;
  $("hint").hidden = true;
  $("frame").classList.add("full");
}

function show({ probabilities, shown, pixels, milliseconds }) {
  const { task, decision } = classifier.card;
  const labels = classifier.card.labels.map(plain);
  const answers = classifier.answers(probabilities);
  $("answer").classList.toggle("none", !answers.length);
  if (answers.length) {
    $("answer").textContent = answers.map((i) => labels[i]).join(" and ");
    $("reason").textContent = `Probability ${answers.map((i) => percent(shown[i])).join(" and ")}`;
  } else if (task.kind === "multi-label") {
    $("answer").textContent = "None of the findings";
    $("reason").textContent = decision.labels
      ? "No label reaches its threshold."
      : `No probability is above ${percent(decision.label_threshold)}.`;
  } else {
    $("answer").textContent = "Not sure";
    const { threshold } = decision.abstention;
    $("reason").textContent =
      `The model answers from ${percent(threshold)} on; its best guess has ${percent(Math.max(...probabilities))}.`;
  }
  // Labels that are scaled one by one can change places; a temperature changes no order.
  const by = task.kind === "multi-label" ? shown : probabilities;
  const order = labels.map((_, i) => i).sort((a, b) => by[b] - by[a] || probabilities[b] - probabilities[a] || a - b);
  const rows = order.filter((i, place) => place < SHOWN || answers.includes(i));
  $("bars").replaceChildren(...rows.map((i) => bar(labels[i], shown[i], answers.includes(i))));
  paint(pixels);
  $("times").textContent =
    `What the model saw: ${pixels.width} × ${pixels.height} pixels. Preparation ${milliseconds.preparation.toFixed(1)} ms,` +
    ` inference ${milliseconds.inference.toFixed(1)} ms.`;
  $("seen").hidden = false;
}

function bar(label, p, chosen) {
  const item = element("li", chosen ? "chosen" : "");
  const track = element("span", "track");
  track.setAttribute("aria-hidden", "true");
  track.append(element("span", "bar"));
  track.firstChild.style.width = percent(p).replace(" ", "");
  item.append(element("span", "label", label), element("span", "share", percent(p)), track);
  return item;
}

function paint({ width, height, data }) {
  const canvas = Object.assign($("pixels"), { width, height });
  canvas.setAttribute("aria-label", `The image in the model's size, ${width} by ${height} pixels`);
  const picture = new ImageData(width, height);
  for (let from = 0, to = 0; from < data.length; to++) {
    picture.data[to] = to % 4 === 3 ? 255 : data[from++];
  }
  picture.data[picture.data.length - 1] = 255;
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function clear(answer) {
  $("answer").textContent = answer;
  $("answer").classList.add("none");
  $("reason").textContent = "";
  $("bars").replaceChildren();
  $("seen").hidden = true;
}

function complain(error) {
  $("problem").textContent = error.message;
}

async function test() {
  $("test").disabled = true;
  $("progress").hidden = false;
  $("stages").replaceChildren();
  $("verdict").textContent = "";
  try {
    const found = await selfTest(classifier, (share) => {
      $("progress").value = share;
    });
    const right = STAGES.every((stage) => !found.wrong[stage].length);
    $("stages").replaceChildren(
      ...STAGES.map((stage) => {
        const faults = found.wrong[stage];
        if (faults.length) return element("li", "bad", `${stage}: ${faults[0]}`);
        const judged = stage !== "resize" || !found.wrong.decode.length;
        return judged
          ? element("li", "good", `${stage}: as it must be`)
          : element("li", "", `${stage}: not judged where decode differs`);
      }),
    );
    $("verdict").className = right ? "good" : "bad";
    $("verdict").textContent = verdict(found).join("\n");
  } catch (error) {
    $("verdict").className = "bad";
    $("verdict").textContent = `The self-test could not be run: ${error.message}`;
  }
  $("progress").hidden = true;
  $("test").disabled = false;
}

// --- Ways for an image to come in -----------------------------------------------------------------------

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) classify(file, file.name);
  $("file").value = ""; // so that the same file can be chosen again
});

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser leaves the page to show the file
    $("frame").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    const file = kind === "drop" && event.dataTransfer.files[0];
    if (file && classifier) classify(file, file.name);
  });
}

$("camera").addEventListener("click", async () => {
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment" },
    });
  } catch (error) {
    complain(new Error(`No camera: ${error.message}`));
    return;
  }
  await $("video").play();
  filming(true);
  $("shoot").focus();
});

$("shoot").addEventListener("click", async () => {
  const video = $("video");
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  filming(false);
  classify(await canvas.convertToBlob({ type: "image/png" }), "a picture from the camera");
});

$("stop").addEventListener("click", () => filming(false));

function filming(on) {
  for (const id of ["video", "shoot", "stop"]) $(id).hidden = !on;
  for (const id of ["choose", "camera"]) $(id).hidden = on;
  $("preview").hidden = true;
  $("hint").hidden = on;
  $("frame").classList.toggle("full", on);
  if (on) return clear("No image yet");
  for (const track of $("video").srcObject.getTracks()) track.stop();
  $("camera").focus();
}

function element(name, className, text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

$("test").addEventListener("click", test);
start();
