// The verdict on one picture and the distance to each other class, as elements of the page: for the app, and for the page
// that certifies in the browser. Whoever moves epsilon calls setEpsilon; no network, no forward pass.

let epsilon = null;

const DIGITS = 4;
const DOWN = 1 - 2 ** -50; // outweighs the rounding of the few operations that it is a factor of
const COUNTS = { 2: "two", 10: "ten" };

// Never more than the value: its decimals, cut off.
function roundDown(value, digits = DIGITS) {
  if (!(value < 1e21)) return String(value); // toFixed writes no more than that
  const text = value.toFixed(60);
  return text.slice(0, text.indexOf(".") + (digits && digits + 1));
}

// The same radius in units that people grasp. `shape` is channels, height, width.
function equivalents(norm, radius, shape) {
  const [channels, height, width] = shape;
  if (norm === "linf") return [["every value of every pixel at once", `up to ${roundDown(255 * radius * DOWN, 1)} of 255`]];
  const count = channels * height * width;
  const one = (radius / Math.sqrt(channels)) * DOWN;
  const colours = channels > 1 ? `, all ${channels} colours` : "";
  return [
    ["every pixel at once", `up to ${roundDown(((255 * radius) / Math.sqrt(count)) * DOWN, 1)} of 255`],
    [`one pixel${colours}`, one >= 1 ? "anything at all" : `up to ${roundDown(255 * one, 0)} of 255`],
  ];
}

// What the model can say at all, certified or not.
function knowledge(labels) {
  const some = labels.slice(0, 10).join(", ");
  const things = labels.length > 10 ? `${some} and so on` : some;
  return `This model knows ${COUNTS[labels.length] ?? labels.length} things: ${things}. Whatever it is shown, it names one of them.`;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// An element that shows its data-* and epsilon. Gradio mends a page in place, so that attributes may change and what
// show() made may vanish while the element stays: both are noticed.
class Follower extends HTMLElement {
  connectedCallback() {
    this.observer = new MutationObserver(() => this.refresh());
    this.refresh();
  }

  disconnectedCallback() {
    this.observer.disconnect();
  }

  refresh() {
    this.observer.disconnect(); // from what it does itself
    epsilon ??= Number(this.dataset.epsilon);
    const key = JSON.stringify(this.dataset);
    if (this.key !== key || !this.firstChild || !this.contains(this.made)) this.made = this.build(this.dataset);
    this.key = key;
    this.show();
    this.observer.observe(this, { attributes: true, childList: true, subtree: true });
  }
}

// <zoo-verdict data-label data-labels data-accuracy data-radius data-norm data-shape data-epsilon data-limit>
class Verdict extends Follower {
  show() {
    const { label, limit } = this.dataset;
    const radius = Number(this.dataset.radius);
    const certified = radius > epsilon; // strict, as in zoo.Prediction.certified
    this.classList.toggle("certified", certified);
    this.badge.textContent = certified ? "CERTIFIED" : "ABSTAIN";
    this.sentence.textContent = certified
      ? `Certified: no change of size ${epsilon} or less alters this answer, be it right or wrong.`
      : `The radius is not above ${epsilon}: the model cannot promise ${label}, and declines to answer.`;
    const end = Math.max(Number(limit), radius, epsilon) || 1;
    this.style.setProperty("--radius", `${(100 * radius) / end}%`);
    this.style.setProperty("--epsilon", `${(100 * epsilon) / end}%`);
    this.gauge.setAttribute("aria-label", `radius ${roundDown(radius)}, epsilon ${epsilon}`);
  }

  build({ label, labels, accuracy, radius, norm, shape }) {
    const head = element("div", "head");
    head.setAttribute("role", "status");
    this.badge = element("span", "badge");
    const rate = accuracy === "null"
      ? "how often it is right was not measured"
      : `right for ${(100 * Number(accuracy)).toFixed(2)} % of its test pictures`;
    head.append(element("span", "label", label), this.badge, element("span", "rate", rate));
    this.sentence = element("p", "sentence");
    this.gauge = element("div", "gauge");
    this.gauge.setAttribute("role", "img");
    this.gauge.append(element("div", "fill"), element("div", "mark"));
    const facts = element("dl", "facts");
    const unit = `${norm === "linf" ? "l-infinity" : "l2"}, pixels in [0, 1]`;
    const sides = shape.split(",").map(Number);
    const size = Number(radius);
    for (const [name, value] of [[`certified radius (${unit})`, roundDown(size)], ...equivalents(norm, size, sides)]) {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      facts.append(pair);
    }
    this.replaceChildren(head, this.sentence, this.gauge, facts, element("p", "worth", knowledge(JSON.parse(labels))));
    return head;
  }
}

// <zoo-distances data-label data-classes data-epsilon>, the classes as pairs of a name and its certified distance, the nearest first
class Distances extends Follower {
  show() {
    const end = 1.05 * Math.max(this.pairs.at(-1)?.[1] ?? 0, 1e-3);
    this.style.setProperty("--epsilon", `${Math.min(100, (100 * epsilon) / end)}%`);
    [...this.querySelectorAll("li")].forEach((row, index) => {
      const radius = this.pairs[index][1];
      row.classList.toggle("certified", radius > epsilon);
      row.style.setProperty("--radius", `${(100 * radius) / end}%`);
    });
  }

  build({ label, classes }) {
    this.pairs = JSON.parse(classes);
    const title = element("h2", "", `How far ${label} is from the nearest other answers, at least`);
    const list = element("ol");
    for (const [name, radius] of this.pairs) {
      const row = element("li");
      const bar = element("span", "bar");
      bar.append(element("span", "fill"), element("span", "mark"));
      row.append(element("span", "name", name), bar, element("span", "number", roundDown(radius)));
      list.append(row);
    }
    this.replaceChildren(title, list);
    return list;
  }
}

window.setEpsilon = (value) => {
  epsilon = Number(value);
  for (const shown of document.querySelectorAll("zoo-verdict, zoo-distances")) shown.refresh();
};

// The address that shows this model, epsilon and picture again. What follows the # is sent to no server on the way.
window.shareLink = (model, size) => {
  const seen = document.querySelector("#verdict .answer img");
  const picture = seen ? seen.src.slice(seen.src.indexOf(",") + 1) : "";
  const link = new URL(window.location.href);
  link.hash = new URLSearchParams({ model, epsilon: size, picture }).toString();
  window.history.replaceState(null, "", link);
  return link.href;
};

// Gradio's thumbnails of examples have no names: each gets that of its file, such as "digit 3".
new MutationObserver(() => {
  for (const button of document.querySelectorAll("button.gallery-item:not([aria-label])")) {
    const file = button.querySelector("img")?.src.match(/([^/]+)\.png$/);
    if (file) button.setAttribute("aria-label", file[1].replace("-", " "));
  }
}).observe(document.documentElement, { childList: true, subtree: true });

customElements.define("zoo-verdict", Verdict);
customElements.define("zoo-distances", Distances); // after the verdict, which brings the first epsilon
