// What stands around the steps: the input and the answer, the parts of the model, and every array by its name.

function overview() {
  const score = data.prediction?.score;
  return [
    make(
      "p",
      { class: "answer" },
      data.source ? [make("bdi", {}, data.source), make("span", { class: "arrow" }, "→")] : null,
      make("strong", {}, make("bdi", {}, data.prediction?.text || data.target)),
    ),
    make("p", {}, say(`task.${data.task}`)),
    labels("source")?.length
      ? chips("source", say("input"), labels("source"), page.position, (position) => change({ position }), tagNotes())
      : null,
    labels("target") && STEPPED === "target"
      ? chips(
          "target",
          say(data.has_target ? "givenAnswer" : "answer"),
          labels("target"),
          page.step,
          (step) => change(atStep(step)),
          data.prediction?.token_scores?.map((score) => percent(Math.exp(score))),
        )
      : null,
    typeof score === "number" && score !== 0
      ? make("p", { class: "note" }, say("scoreOf", { score: number(score), share: number(Math.exp(score)) }))
      : null,
    parts(),
  ];
}

/** The tag of each token, where the model gave it one. */
const tagNotes = () =>
  data.task === "tag"
    ? (values("head.best_path") ?? []).map((tag) => visible(labels("tag")?.[tag] ?? String(tag)))
    : [];

function chips(key, title, names, picked, pick, notes = []) {
  return make(
    "div",
    { class: "chips" },
    make("h3", { id: `chips-${key}` }, title),
    make(
      "div",
      { class: "scroll tall", role: "group", "aria-labelledby": `chips-${key}` },
      names.map((name, index) =>
        make(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": String(index === picked),
            "data-focus": `chip-${key}-${index}`,
            onclick: () => pick(index),
          },
          token(name),
          notes[index] === undefined ? null : make("small", {}, notes[index]),
        ),
      ),
    ),
  );
}

/** The way of the numbers through the model: its parts with the shapes of what they give. */
function parts() {
  const steps = [
    ["source.embedding", "embedding"],
    ...layersOf("encoder").map((layer) => [`${layer.prefix}.hidden_state`, "encoder", layer.name]),
    ["encoder.outputs", "encoder"],
    ["attention.weights", "attention"],
    ["attention.context", "attention"],
    ...layersOf("decoder").map((layer) => [`${layer.prefix}.hidden_state`, "decoder", layer.name]),
    ["decoder.outputs", "attention"],
    ["pooling.vector", "pooling"],
    ["head.emissions", "tags"],
    ["output.log_probs", "distribution"],
    ["head.log_probs", data.task === "tag" ? "tags" : "classes"],
  ].filter(([name]) => arrays.has(name));
  const kinds = Object.entries(data.components).filter(
    ([name]) => `component.${name}` in words.en && !(name === "order" && data.components.attention === "none"),
  );
  return [
    make("h3", {}, say("way")),
    make(
      "ol",
      { class: "way" },
      steps.map(([name, section, layer]) =>
        make(
          "li",
          {},
          make("a", { href: `#${section}` }, layer ? `${say(`part.${section}`)}, ${layer}` : say(`flow.${name}`)),
          " ",
          shapeOf(name),
        ),
      ),
    ),
    make("h3", {}, say("parts")),
    make(
      "dl",
      { class: "components" },
      kinds.map(([name, value]) =>
        make(
          "div",
          {},
          make("dt", {}, say(`component.${name}`)),
          make("dd", {}, value === true ? say("yes") : value === false ? say("no") : String(value)),
        ),
      ),
    ),
    make("p", { class: "note" }, say("shapeNote")),
  ];
}

function embeddingSection() {
  const rows = values("source.embedding");
  if (!rows) return arrays.has("source.embedding") ? missing("source.embedding") : null;
  if (!rows.length) return null;
  const ids = values("source.ids");
  const symbols = [
    ["x_s", say("symbol.x_s")],
    ["E", say("symbol.E")],
    [String.raw`\text{id}_s`, say("symbol.id")],
  ];
  const shown = (ids ?? []).slice(0, 40).join(", ") + (ids?.length > 40 ? ", …" : "");
  return [
    make("p", {}, say(ids ? "embeddingText" : "vectorsText")),
    arrays.get("source.embedding").equation ? explained(String.raw`x_s = E[\text{id}_s]`, symbols) : null,
    ids ? make("p", { class: "note" }, say("idsText", { ids: shown })) : null,
    heatMap({
      title: say("array.embedding"),
      name: "source.embedding",
      width: contentWidth(),
      scale: scaleOf(rows, { signed: true }),
      values: transposed(rows),
      shapeOf: shapeOf("source.embedding"),
      rows: { name: say("axis.unit"), labels: null },
      columns: axisOf("source"),
      column: page.position,
      index: (unit, position) => [position, unit],
      pick: (_, position) => change({ position }),
    }),
  ];
}

/** Every array with its shape, its equation and, when opened, its numbers. */
function arraySection() {
  const show = (array) => (event) => {
    if (!event.target.open || event.target.querySelector("figure, p")) return;
    event.target.append(...[arrayView(array)].flat());
  };
  return [
    make("p", {}, say("arraysText")),
    make(
      "pre",
      { class: "code", tabindex: 0 },
      `explanation = seq2att.load("RUN").explain(${JSON.stringify(data.source)})\n`,
      `explanation["${data.arrays[0]?.name ?? ""}"]`,
    ),
    make(
      "div",
      { class: "list" },
      data.arrays.map((array) =>
        make(
          "details",
          { ontoggle: show(array) },
          make(
            "summary",
            {},
            make("code", {}, array.name),
            " ",
            shapeOf(array.name),
            array.equation ? make("span", { class: "plain" }, " ", plainEquation(array.equation)) : null,
          ),
        ),
      ),
    ),
  ];
}

function arrayView(array) {
  if (array.values === null) return missing(array.name);
  if (array.axes.length === 0) return make("p", { class: "big" }, number(array.values));
  const axes = array.axes.slice(-2).map((axis) => axisOf2(axis));
  const views = array.axes.length === 1 ? [[array.values]] : array.axes.length === 2 ? [array.values] : array.values;
  const rowAxis = array.axes.length === 1 ? { name: "", labels: null } : axes[0];
  return views.slice(0, 16).map((rows, first) =>
    heatMap({
      title: array.axes.length > 2 ? `${array.name} [${first}]` : array.name,
      name: array.name,
      key: `list-${array.name}-${first}`,
      low: array.axes.length === 1,
      width: contentWidth() - 24,
      values: rows,
      scale: scaleOf(rows),
      rows: rowAxis,
      columns: axes.at(-1),
      index: (row, column) => [
        ...(array.axes.length > 2 ? [first] : []),
        ...(array.axes.length > 1 ? [row] : []),
        column,
      ],
    }),
  );
}
