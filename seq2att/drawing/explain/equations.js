// Equations: a few commands of TeX, written as MathML, which browsers set and screen readers read.

const NAMES = {
  alpha: "α",
  sigma: "σ",
  odot: "⊙",
  top: "⊤",
  sum: "∑",
  prod: "∏",
  cdot: "·",
  dots: "…",
  partial: "∂",
  mid: "∣",
  times: "×",
  leq: "≤",
  to: "→",
  lt: "<",
  quad: "\u2003",
  log: "log",
  exp: "exp",
  tanh: "tanh",
  softmax: "softmax",
  max: "max",
  argmax: "arg max",
  relu: "ReLU",
  cos: "cos",
};
const UPRIGHT = new Set(["log", "exp", "tanh", "softmax", "max", "argmax", "relu", "cos"]);
const LARGE = new Set(["sum", "prod"]);

const mathNode = (tag, ...children) => {
  const node = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
  node.append(...children);
  return node;
};

/** An equation, from such TeX as `\alpha_{t,s} = \frac{\exp e_{t,s}}{\sum_{r} \exp e_{t,r}}`. */
function equation(tex, display = false) {
  const parts = tex.match(/\\[a-z]+|[a-zA-Z]|[0-9.]+|\S/g) ?? [];
  const math = mathNode("math", parseRow(parts, null));
  if (display) math.setAttribute("display", "block");
  return math;
}

/** The items up to the closing brace, as one row; takes them from `parts`. */
function parseRow(parts, end) {
  const row = mathNode("mrow");
  while (parts.length && parts[0] !== end) row.append(parseScripts(parts));
  if (end) parts.shift();
  return row;
}

/** One item with what stands below and above it. */
function parseScripts(parts) {
  const isLarge = LARGE.has(parts[0].slice(1));
  const base = parseAtom(parts);
  const scripts = {};
  while (parts[0] === "_" || parts[0] === "^") {
    const mark = parts.shift();
    scripts[mark] = parseAtom(parts);
  }
  const tags = isLarge ? ["munder", "mover", "munderover"] : ["msub", "msup", "msubsup"];
  if (scripts._ && scripts["^"]) return mathNode(tags[2], base, scripts._, scripts["^"]);
  if (scripts._) return mathNode(tags[0], base, scripts._);
  return scripts["^"] ? mathNode(tags[1], base, scripts["^"]) : base;
}

function parseAtom(parts) {
  const part = parts.shift();
  if (part === "{") return parseRow(parts, "}");
  if (part === "\\frac") return mathNode("mfrac", parseAtom(parts), parseAtom(parts));
  if (part === "\\sqrt") return mathNode("msqrt", parseAtom(parts));
  if (part === "\\tilde") return accent(parseAtom(parts), "~");
  if (part === "\\text") return mathNode("mtext", joined(parts));
  if (part.startsWith("\\")) return command(part.slice(1));
  if (/[0-9]/.test(part)) return mathNode("mn", part);
  if (/\p{L}/u.test(part)) return mathNode("mi", part);
  const operator = mathNode("mo", part === "-" ? "−" : part === "'" ? "′" : part);
  operator.setAttribute("stretchy", "false"); // fonts without the sizes of mathematics stretch brackets badly
  return operator;
}

/** An equation as the arrays have it, `α_ts = exp(e_ts) / Σ_k exp(e_tk)`. */
function plainEquation(text) {
  const isCommand = (word) => (UPRIGHT.has(word) ? `\\${word} ` : `\\text{${word}}`);
  return equation(text.replace(/_([a-z]{2,})/g, "_{$1}").replace(/(?<![_{])\b[A-Za-z]{3,}\b/g, isCommand));
}

/** The letters of a group as a text. */
function joined(parts) {
  parts.shift();
  let text = "";
  while (parts.length && parts[0] !== "}") text += parts.shift();
  parts.shift();
  return text;
}

function command(name) {
  const symbol = NAMES[name];
  if (symbol === undefined) throw new Error(`no symbol \\${name}`);
  if (UPRIGHT.has(name)) {
    const upright = mathNode("mi", symbol);
    upright.setAttribute("mathvariant", "normal");
    return mathNode("mrow", upright, space());
  }
  return mathNode(/^\p{L}$/u.test(symbol) ? "mi" : symbol === "\u2003" ? "mtext" : "mo", symbol);
}

function space() {
  const gap = mathNode("mspace");
  gap.setAttribute("width", "0.15em");
  return gap;
}

function accent(base, mark) {
  const over = mathNode("mover", base, mathNode("mo", mark));
  over.setAttribute("accent", "true");
  return over;
}

/** One equation or several with a list of what its symbols mean: `[[tex, text], ...]`. */
function explained(tex, symbols) {
  const lines = [tex].flat().map((line) => equation(line, true));
  const list = symbols.map(([symbol, meaning]) =>
    make("div", {}, make("dt", {}, equation(symbol)), make("dd", {}, meaning)),
  );
  return make(
    "div",
    { class: "equation" },
    make("div", { class: "formula", tabindex: 0, role: "group", "aria-label": say("equation") }, lines),
    make("dl", { class: "symbols" }, list),
  );
}
