// The page that certifies in the browser: model.onnx, the proved float64 graph, runs in WebAssembly on this machine.

import * as ort from "./ort/ort.wasm.min.mjs";
import { tensorOf } from "./picture.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const at = (id) => document.getElementById(id);
const page = await (await fetch("page.json")).json(); // what `space.answers.browser_page` says
const loaded = new Map(); // name to the promise of { config, session }
const offered = new Map(); // name to what the page knows of the model
let picture = null;
let kind = null; // of the example that is shown; null for a visitor's own picture
let shown = null; // the model whose answer is shown
let turn = 0; // only the latest request is shown

async function bytes(name, file) {
  const response = await fetch(`models/${name}/${file}`);
  if (!response.ok) throw new Error(`${name}/${file} cannot be loaded (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

async function json(name, file) {
  return JSON.parse(new TextDecoder().decode(await bytes(name, file)));
}

async function load(name) {
  const [config, graph, weights] = await Promise.all([
    json(name, "config.json"), bytes(name, "model.onnx"), bytes(name, "model.safetensors"),
  ]);
  // Not optimised: the graph that was certified is the graph that runs.
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ["wasm"],
    externalData: [{ path: "model.safetensors", data: weights }],
    graphOptimizationLevel: "disabled",
  });
  return { config, session };
}

function model(name) {
  if (!loaded.has(name)) loaded.set(name, load(name));
  return loaded.get(name);
}

function draw(tensor, [channels, height, width]) {
  const canvas = Object.assign(at("seen"), { width, height });
  const image = canvas.getContext("2d").createImageData(width, height);
  for (let index = 0; index < width * height; index += 1) {
    for (let colour = 0; colour < 3; colour += 1) {
      image.data[4 * index + colour] = Math.round(255 * tensor[(colour % channels) * width * height + index]);
    }
    image.data[4 * index + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function certify() {
  const mine = (turn += 1);
  const name = at("model").value;
  at("state").textContent = "Loading the model and certifying...";
  at("problem").hidden = true;
  try {
    const { config, session } = await model(name);
    const tensor = await tensorOf(picture, config.input_shape);
    const start = performance.now();
    const answer = await session.run({ images: new ort.Tensor("float32", tensor, [1, ...config.input_shape]) });
    if (mine !== turn) return;
    const { accuracy, limit, epsilon: own } = offered.get(name);
    at("epsilon").max = limit;
    if (shown !== name) setEpsilon(own.toFixed(3));
    shown = name;
    const labels = config.labels.map((label) => label.replace(/^n\d{8} /, ""));
    const predicted = Number(answer.label.data[0]);
    const others = labels.map((label, index) => [label, answer.class_radii.data[index]]);
    const nearest = others.filter((_, index) => index !== predicted).sort((one, other) => one[1] - other[1]);
    const epsilon = at("epsilon").value;
    at("verdict").replaceChildren(made("zoo-verdict", {
      label: labels[predicted], labels: JSON.stringify(labels), accuracy,
      radius: answer.radius.data[0], norm: config.norm, shape: config.input_shape.join(","), epsilon, limit,
    }));
    at("distances").replaceChildren(made("zoo-distances", {
      label: labels[predicted], classes: JSON.stringify(nearest.slice(0, page.nearest)), epsilon,
    }));
    draw(tensor, config.input_shape);
    const [channels, height, width] = config.input_shape;
    at("caption").textContent = `What the model sees: ${height} x ${width} pixels, ${channels === 1 ? "grey" : "RGB"}`;
    at("state").textContent = `Computed on this machine in ${Math.round(performance.now() - start)} ms; nothing was sent.`;
    at("answer").hidden = false;
  } catch (error) {
    loaded.delete(name);
    if (mine !== turn) return;
    at("answer").hidden = true;
    at("state").textContent = "";
    at("problem").textContent = error.message;
    at("problem").hidden = false;
  }
}

function made(tag, data) {
  const element = document.createElement(tag);
  Object.assign(element.dataset, data);
  return element;
}

function setEpsilon(value) {
  at("epsilon").value = value;
  at("size").value = Number(at("epsilon").value);
  window.setEpsilon(at("epsilon").value);
}

function choose(file, of = null) {
  if (!file) return;
  [picture, kind] = [file, of];
  certify();
}

async function sample(name, of) {
  const response = await fetch(`samples/${name}.png`);
  choose(new File([await response.blob()], `${name}.png`, { type: "image/png" }), of);
}

function offer(models) {
  for (const [group, rows] of Map.groupBy(models, (row) => row.group)) {
    const rate = (accuracy) => (accuracy === null ? "not measured" : `right for ${(100 * accuracy).toFixed(0)} %`);
    const options = rows.map(({ name, accuracy }) => new Option(`${name}, ${rate(accuracy)}`, name));
    const part = Object.assign(document.createElement("optgroup"), { label: group });
    part.append(...options);
    at("model").append(part);
    rows.forEach((row) => offered.set(row.name, row));
  }
  for (const [of, { model, title, pictures }] of Object.entries(page.samples)) {
    if (!offered.has(model)) continue;
    const buttons = pictures.map((name) => {
      const button = document.createElement("button");
      button.dataset.picture = name;
      button.append(Object.assign(new Image(), { src: `samples/${name}.png`, alt: name.replace("-", " ") }));
      button.addEventListener("click", () => {
        if (offered.get(at("model").value).family !== of) at("model").value = model;
        sample(name, of);
      });
      return button;
    });
    const row = Object.assign(document.createElement("div"), { className: "samples" });
    row.append(...buttons);
    const caption = Object.assign(document.createElement("p"), { textContent: `Drawn for this page, like ${title}` });
    at("samples").append(caption, row);
  }
}

at("file").addEventListener("change", (event) => choose(event.target.files[0]));
at("model").addEventListener("change", (event) => {
  const of = offered.get(event.target.value).family;
  if (kind !== null && kind !== of) sample(page.samples[of].pictures[0], of);
  else certify();
});
at("epsilon").addEventListener("input", (event) => setEpsilon(event.target.value));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  choose(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => choose(event.clipboardData.files[0]));
document.documentElement.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
offer(page.models);
at("model").value = page.default;
const first = offered.get(page.default).family;
sample(page.samples[first].pictures[0], first);
