// The verdict on one picture, the plots that follow epsilon and the table that sorts, as elements of the page: for the
// app, and for the page that certifies in the browser. Whoever moves epsilon calls setEpsilon; no network, no forward pass.

let epsilon = null;

const DIGITS = 4;
const DOWN = 1 - 2 ** -50; // outweighs the rounding of the few operations that it is a factor of

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

// What an answer is worth, certified or not.
function worth(accuracy, labels) {
  const known = JSON.parse(labels);
  const classes = known.length > 10 ? `its ${known.length} classes` : known.join(", ");
  return `This model is right for ${(100 * Number(accuracy)).toFixed(2)} % of its test pictures, and knows nothing but ${classes}.`;
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
    this.observer.disconnect(); // from what show() does itself
    this.show();
    this.observer.observe(this, { attributes: true, childList: true, subtree: true });
  }
}

// <zoo-verdict data-label data-labels data-accuracy data-radius data-norm data-shape data-epsilon data-limit>
class Verdict extends Follower {
  show() {
    const { label, labels, accuracy, radius, norm, shape, limit } = this.dataset;
    epsilon ??= Number(this.dataset.epsilon);
    const key = [label, labels, accuracy, radius, norm, shape].join();
    if (this.key !== key || !this.contains(this.badge)) {
      this.build(label, worth(accuracy, labels), Number(radius), norm, shape.split(",").map(Number));
    }
    this.key = key;
    const certified = Number(radius) > epsilon; // strict, as in zoo.Prediction.certified
    this.classList.toggle("certified", certified);
    this.badge.textContent = certified ? "CERTIFIED" : "ABSTAIN";
    this.sentence.textContent = certified
      ? `Certified: no change of size ${epsilon} or less alters this answer, be it right or wrong.`
      : `The radius is not above ${epsilon}: the model cannot promise ${label}, and declines to answer.`;
    const end = Math.max(Number(limit), Number(radius), epsilon) || 1;
    this.style.setProperty("--radius", `${(100 * Number(radius)) / end}%`);
    this.style.setProperty("--epsilon", `${(100 * epsilon) / end}%`);
    this.gauge.setAttribute("aria-label", `radius ${roundDown(Number(radius))}, epsilon ${epsilon}`);
  }

  build(label, worth, radius, norm, shape) {
    const head = element("div", "head");
    head.setAttribute("role", "status");
    this.badge = element("span", "badge");
    head.append(element("span", "label", label), this.badge);
    this.sentence = element("p", "sentence");
    this.gauge = element("div", "gauge");
    this.gauge.setAttribute("role", "img");
    this.gauge.append(element("div", "fill"), element("div", "mark"));
    const facts = element("dl", "facts");
    const unit = `${norm === "linf" ? "l-infinity" : "l2"}, pixels in [0, 1]`;
    for (const [name, value] of [[`certified radius (${unit})`, roundDown(radius)], ...equivalents(norm, radius, shape)]) {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      facts.append(pair);
    }
    this.replaceChildren(head, this.sentence, element("p", "worth", worth), this.gauge, facts);
  }
}

// <zoo-plot data-unit data-limit> around an SVG whose group #epsilon stands at 0 and moves `unit` for each 1.
class Plot extends Follower {
  show() {
    const line = this.querySelector("#epsilon");
    if (!line || epsilon === null) return;
    line.setAttribute("transform", `translate(${epsilon * Number(this.dataset.unit)} 0)`);
    line.style.visibility = epsilon <= Number(this.dataset.limit) ? "visible" : "hidden";
  }
}

window.setEpsilon = (value) => {
  epsilon = Number(value);
  for (const shown of document.querySelectorAll("zoo-verdict, zoo-plot")) shown.refresh();
};

// <zoo-table> around a table whose headers hold a button each; a cell's data-value goes before its text. Empty cells last.
class Table extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => {
      const header = event.target.closest("th button")?.parentElement;
      if (header) this.sort(header);
    });
  }

  sort(header) {
    const down = header.getAttribute("aria-sort") !== "descending"; // the largest first
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.children[header.cellIndex];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const body = this.querySelector("tbody");
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return (a < b ? -1 : Number(a > b)) * (down ? -1 : 1);
    });
    body.append(...rows);
  }
}

customElements.define("zoo-table", Table);
customElements.define("zoo-verdict", Verdict);
customElements.define("zoo-plot", Plot); // after the verdict, which brings the first epsilon
