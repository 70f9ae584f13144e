// The verdict on one picture and the plots that follow epsilon, as elements of the page: for the app, and for the page
// that certifies in the browser. Whoever moves epsilon calls setEpsilon; no network, no forward pass.

let epsilon = null;

const DIGITS = 4;

// Never more than the radius.
function roundDown(value, digits = DIGITS) {
  const scale = 10 ** digits;
  let steps = Math.floor(value * scale);
  if (steps / scale > value) steps -= 1;
  return (steps / scale).toFixed(digits);
}

// The same radius in units that people grasp. `shape` is channels, height, width.
function equivalents(norm, radius, shape) {
  const [channels, height, width] = shape;
  if (norm === "linf") return [["every value of every pixel at once", `up to ${roundDown(255 * radius, 1)} of 255`]];
  const count = channels * height * width;
  const one = radius / Math.sqrt(channels);
  const colours = channels > 1 ? `, all ${channels} colours` : "";
  return [
    ["every pixel at once", `up to ${roundDown((255 * radius) / Math.sqrt(count), 1)} of 255`],
    [`one pixel${colours}`, one >= 1 ? "anything at all" : `up to ${roundDown(255 * one, 0)} of 255`],
  ];
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// <zoo-verdict data-label data-radius data-norm data-shape data-epsilon data-limit>
class Verdict extends HTMLElement {
  connectedCallback() {
    const { label, norm, shape } = this.dataset;
    this.radius = Number(this.dataset.radius);
    this.badge = element("span", "badge");
    this.sentence = element("p", "sentence");
    const head = element("div", "head");
    head.setAttribute("role", "status");
    head.append(element("span", "label", label), this.badge);
    this.gauge = element("div", "gauge");
    this.gauge.setAttribute("role", "img");
    this.gauge.append(element("div", "fill"), element("div", "mark"));
    const facts = element("dl", "facts");
    const rows = [[`certified radius (${norm === "linf" ? "l-infinity" : "l2"}, pixels in [0, 1])`, roundDown(this.radius)]];
    for (const [name, value] of [...rows, ...equivalents(norm, this.radius, shape.split(",").map(Number))]) {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      facts.append(pair);
    }
    this.replaceChildren(head, this.sentence, this.gauge, facts);
    if (epsilon === null) window.setEpsilon(this.dataset.epsilon);
    else this.show();
  }

  show() {
    const at = epsilon;
    const certified = this.radius > at; // strict, as in zoo.Prediction.certified
    this.classList.toggle("certified", certified);
    this.badge.textContent = certified ? "✓ CERTIFIED" : "? ABSTAIN";
    this.sentence.textContent = certified
      ? `Proved: no change of size ${at} or less makes this model say anything but ${this.dataset.label}.`
      : `The radius is not above ${at}: the model cannot promise ${this.dataset.label}, and declines to answer.`;
    const limit = Math.max(Number(this.dataset.limit), this.radius, at) || 1;
    this.style.setProperty("--radius", `${(100 * this.radius) / limit}%`);
    this.style.setProperty("--epsilon", `${(100 * at) / limit}%`);
    this.gauge.setAttribute("aria-label", `radius ${roundDown(this.radius)}, epsilon ${at}`);
  }
}

// <zoo-plot data-unit data-limit> around an SVG whose group #epsilon stands at 0 and moves `unit` for each 1.
class Plot extends HTMLElement {
  connectedCallback() {
    this.show();
  }

  show() {
    const line = this.querySelector("#epsilon");
    if (!line || epsilon === null) return;
    line.setAttribute("transform", `translate(${epsilon * Number(this.dataset.unit)} 0)`);
    line.style.visibility = epsilon <= Number(this.dataset.limit) ? "visible" : "hidden";
  }
}

window.setEpsilon = (value) => {
  epsilon = Number(value);
  for (const shown of document.querySelectorAll("zoo-verdict, zoo-plot")) shown.show();
};

customElements.define("zoo-verdict", Verdict);
customElements.define("zoo-plot", Plot);
