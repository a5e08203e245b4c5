// The named arrays of the model, as the page reads them.

const arrays = new Map(data.arrays.map((array) => [array.name, array]));
const has = (name) => Boolean(arrays.get(name)?.values);
const values = (name) => (has(name) ? arrays.get(name).values : null);
const sizeOf = (name) => arrays.get(name)?.shape.at(-1) ?? 0;
const labels = (axis) => data.labels[axis] ?? null;
const LETTERS = {
  source: "S",
  target: "T",
  layer: "L",
  head: "heads",
  class: "K",
  tag: "K",
  previous_tag: "K",
  vocabulary: "V",
};
const STATES = {
  lstm: ["input_gate", "forget_gate", "cell_gate", "output_gate", "cell_state", "hidden_state"],
  gru: ["reset_gate", "update_gate", "new_gate", "hidden_state"],
  rnn: ["hidden_state"],
};

/** The letter of the units of an array, as the shapes of the toolkit have it. */
function unitLetter(name) {
  const part = name.slice(name.lastIndexOf(".") + 1);
  if (/(_gate|_state)$/.test(part)) return "H";
  return (
    { embedding: "E", inputs: "I", query: "Q", context: "C", vector: "P", concatenation: "N" }[part] ??
    (name === "decoder.outputs"
      ? "D"
      : /^(encoder\.outputs|attention\.values|pooling\.(values|last|mean|max|attend|query|context))$/.test(name)
        ? "M"
        : "units")
  );
}

/** The shape of an array with letters, and how much of it the page holds. */
function shapeOf(name) {
  const array = arrays.get(name);
  if (!array) return null;
  const sizes = array.axes.map(
    (axis, index) => `${axis === "unit" ? unitLetter(name) : (LETTERS[axis] ?? axis)} = ${array.shape[index] ?? "?"}`,
  );
  const note = array.shown
    ? ` · ${say("firstUnits", { shown: array.shown, all: array.shape[array.axes.indexOf("unit")] })}`
    : "";
  return make("span", { class: "shape" }, `[${sizes.join(" × ")}]${note}`);
}

/** The rows of a matrix as its columns. */
const transposed = (rows) => (rows.length ? rows[0].map((_, column) => rows.map((row) => row[column])) : []);
const sumOf = (numbers) => numbers.reduce((total, value) => total + value, 0);
const mean = (numbers) => sumOf(numbers) / Math.max(1, numbers.length);

/** An axis of a chart: its name in the words of the page, and its labels. */
const axisOf = (axis) => ({ name: say(`axis.${axis}`), labels: labels(axis) });

/** The recurrent layers of a part of the model: `{prefix, name, cell, axis, backward}`. */
function layersOf(part) {
  return [...arrays.keys()]
    .filter((name) => name.startsWith(`${part}.`) && name.endsWith(".hidden_state"))
    .map((name) => {
      const prefix = name.slice(0, -".hidden_state".length);
      const cell = arrays.has(`${prefix}.cell_state`) ? "lstm" : arrays.has(`${prefix}.update_gate`) ? "gru" : "rnn";
      return {
        prefix,
        cell,
        axis: arrays.get(name).axes[0],
        backward: prefix.endsWith(".backward"),
        name: layerName(prefix),
      };
    });
}

function layerName(prefix) {
  const [, layer, direction] = prefix.match(/\.layer(\d+)(?:\.(forward|backward))?$/) ?? [];
  if (layer === undefined) return prefix;
  const ways = { forward: say("forward"), backward: say("backward") };
  return [say("layer", { number: Number(layer) + 1 }), ways[direction]].filter(Boolean).join(", ");
}

/** Matrix `[T, S]` of an attention array; of the chosen head where it has several. */
function perHead(name) {
  const array = arrays.get(name);
  return array?.values && array.axes[0] === "head" ? array.values[page.head ?? 0] : (array?.values ?? null);
}

/** A note about an array that is too large for the page. */
function missing(name) {
  const array = arrays.get(name);
  return make("p", { class: "note" }, say("tooLarge", { name: array.name, shape: array.shape.join(" × ") }));
}
