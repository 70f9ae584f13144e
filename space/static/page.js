// The page that certifies in the browser: model.onnx, the proved float64 graph, runs in WebAssembly on this machine.

import * as ort from "./ort/ort.wasm.min.mjs";
import { tensorOf } from "./picture.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const at = (id) => document.getElementById(id);
const loaded = new Map(); // name to the promise of { config, evaluation, session }
let picture = null;
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
  const [config, evaluation, graph, weights] = await Promise.all([
    json(name, "config.json"), json(name, "evaluation.json"), bytes(name, "model.onnx"), bytes(name, "model.safetensors"),
  ]);
  // Not optimised: the graph that was certified is the graph that runs.
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ["wasm"],
    externalData: [{ path: "model.safetensors", data: weights }],
    graphOptimizationLevel: "disabled",
  });
  return { config, evaluation, session };
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
    const { config, evaluation, session } = await model(name);
    const tensor = await tensorOf(picture, config.input_shape);
    const start = performance.now();
    const answer = await session.run({ images: new ort.Tensor("float32", tensor, [1, ...config.input_shape]) });
    if (mine !== turn) return;
    const verdict = document.createElement("zoo-verdict");
    const limit = evaluation.curve.at(-1)[0];
    at("epsilon").max = limit;
    Object.assign(verdict.dataset, {
      label: config.labels[Number(answer.label.data[0])], labels: JSON.stringify(config.labels),
      accuracy: evaluation.clean_accuracy, radius: answer.radius.data[0], norm: config.norm,
      shape: config.input_shape.join(","), epsilon: at("epsilon").value, limit,
    });
    at("verdict").replaceChildren(verdict);
    draw(tensor, config.input_shape);
    const [channels, height, width] = config.input_shape;
    at("caption").textContent = `As the model sees it: ${width} x ${height} pixels, ${channels === 1 ? "grey" : "RGB"}.`;
    at("state").textContent = `Computed on this machine in ${Math.round(performance.now() - start)} ms; nothing was sent.`;
    at("answer").hidden = false;
  } catch (error) {
    if (mine !== turn) return;
    loaded.delete(name);
    at("answer").hidden = true;
    at("state").textContent = "";
    at("problem").textContent = error.message;
    at("problem").hidden = false;
  }
}

function choose(file) {
  if (!file) return;
  picture = file;
  certify();
}

async function sample(name) {
  const response = await fetch(`samples/${name}.png`);
  choose(new File([await response.blob()], `${name}.png`, { type: "image/png" }));
}

at("file").addEventListener("change", (event) => choose(event.target.files[0]));
at("model").addEventListener("change", (event) => sample(event.target.selectedOptions[0].dataset.sample));
at("epsilon").addEventListener("input", (event) => {
  at("size").value = event.target.value;
  window.setEpsilon(event.target.value);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  choose(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => choose(event.clipboardData.files[0]));
for (const button of document.querySelectorAll("[data-picture]")) {
  button.addEventListener("click", () => {
    at("model").value = button.dataset.model;
    sample(button.dataset.picture);
  });
}
document.documentElement.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
sample(at("model").selectedOptions[0].dataset.sample);
