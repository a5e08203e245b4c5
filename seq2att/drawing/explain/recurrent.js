// The recurrent layers: gates and states over time, and one unit by hand.

const SIGNED = new Set(["cell_gate", "new_gate", "hidden_state", "cell_state"]);
const CELLS = {
  lstm: [
    String.raw`i_t = \sigma(W_i x_t + U_i h_{t-1} + b_i)`,
    String.raw`f_t = \sigma(W_f x_t + U_f h_{t-1} + b_f)`,
    String.raw`g_t = \tanh(W_g x_t + U_g h_{t-1} + b_g)`,
    String.raw`o_t = \sigma(W_o x_t + U_o h_{t-1} + b_o)`,
    String.raw`c_t = f_t \odot c_{t-1} + i_t \odot g_t`,
    String.raw`h_t = o_t \odot \tanh(c_t)`,
  ],
  gru: [
    String.raw`r_t = \sigma(W_r x_t + U_r h_{t-1} + b_r)`,
    String.raw`z_t = \sigma(W_z x_t + U_z h_{t-1} + b_z)`,
    String.raw`n_t = \tanh(W_n x_t + b_n + r_t \odot (U_n h_{t-1} + d_n))`,
    String.raw`h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}`,
  ],
  rnn: [String.raw`h_t = f(W x_t + U h_{t-1} + b)`],
};
const SYMBOLS = {
  lstm: ["x_t", "h_t", "c_t", "i_t", "f_t", "g_t", "o_t", "W", "\\sigma", "\\odot"],
  gru: ["x_t", "h_t", "r_t", "z_t", "n_t", "W", "\\sigma", "\\odot"],
  rnn: ["x_t", "h_t", "f", "W"],
};

/** The section of the encoder's or the decoder's layers; null where there are none. */
function recurrentSection(part) {
  const layers = layersOf(part);
  if (!layers.length) return null;
  const layer = layers[Math.min(page.layer[part] ?? 0, layers.length - 1)];
  return [
    make(
      "p",
      {},
      say(part === "encoder" ? "encoderText" : "decoderText"),
      " ",
      layer.backward ? say("backwardText") : "",
    ),
    layers.length > 1
      ? choice(
          say("chooseLayer"),
          layers.map((one) => one.name),
          layers.indexOf(layer),
          (index) => change({ layer: { ...page.layer, [part]: index } }),
          part,
        )
      : null,
    cellEquations(layer.cell),
    layerMaps(layer),
    unitByHand(layer),
  ];
}

function cellEquations(cell) {
  const symbols = SYMBOLS[cell].map((symbol) => [symbol, say(`symbol.${cell}.${symbol}`)]);
  return make(
    "details",
    { class: "equations", open: true },
    make("summary", {}, say("equationsOf", { cell: cell.toUpperCase() })),
    make(
      "div",
      { class: "equation" },
      make(
        "div",
        { class: "formula", tabindex: 0, role: "group", "aria-label": say("equation") },
        CELLS[cell].map((tex) => equation(tex, true)),
      ),
      make(
        "dl",
        { class: "symbols" },
        symbols.map(([symbol, meaning]) => make("div", {}, make("dt", {}, equation(symbol)), make("dd", {}, meaning))),
      ),
    ),
  );
}

/** The axis of the time of a layer; the decoder reads the tokens of `input`. */
function timeOf(layer) {
  return layer.axis === "target"
    ? { name: say("axis.target"), labels: labels("input") ?? labels("target") }
    : axisOf(layer.axis);
}
const timeNow = (layer) => (layer.axis === "target" ? page.step : page.position);
const chooseTime = (layer, time) => (layer.axis === "target" ? { step: time } : { position: time });

function layerMaps(layer) {
  const names = STATES[layer.cell].map((part) => `${layer.prefix}.${part}`).filter((name) => arrays.has(name));
  const wide = contentWidth();
  const times = arrays.get(names[0]).shape[0];
  const fit = Math.floor(wide / clamp(times * 22 + 30, 240, wide));
  const across = [4, 3, 2, 1].find((count) => count <= fit && (names.length % count === 0 || count === 1));
  const width = Math.floor((wide - 16 * (across - 1)) / across) - 32;
  return make(
    "div",
    { class: "maps", style: { "grid-template-columns": `repeat(${across}, minmax(0, 1fr))` } },
    names.map((name) => {
      const part = name.slice(layer.prefix.length + 1);
      if (!has(name)) return missing(name);
      const rows = values(name);
      const scale = SIGNED.has(part)
        ? scaleOf(rows, { signed: true, reach: part === "cell_state" ? 0 : 1 })
        : { low: 0, high: 1 };
      return make(
        "div",
        { class: "card" },
        heatMap({
          title: say(`array.${part}`),
          name,
          width,
          scale,
          values: transposed(rows),
          shapeOf: shapeOf(name),
          rows: { name: say("axis.unit"), labels: null },
          columns: timeOf(layer),
          column: timeNow(layer),
          startRow: page.unit,
          row: rows[0].length < 40 ? page.unit : undefined,
          index: (unit, time) => [time, unit],
          pick: (unit, time) => change({ unit, ...chooseTime(layer, time) }),
        }),
        make(
          "p",
          { class: "note" },
          say(`mean.${SIGNED.has(part) ? "state" : "gate"}`, {
            mean: number(
              mean((rows[timeNow(layer)] ?? [0]).map((value) => (SIGNED.has(part) ? Math.abs(value) : value))),
            ),
          }),
        ),
      );
    }),
  );
}

/** The state of one unit at one time, from its gates and the state before. */
function unitByHand(layer) {
  const hidden = values(`${layer.prefix}.hidden_state`);
  if (layer.cell === "rnn" || !hidden?.length || STATES[layer.cell].some((part) => !has(`${layer.prefix}.${part}`)))
    return null;
  const time = clamp(timeNow(layer), 0, hidden.length - 1);
  const unit = clamp(page.unit ?? 0, 0, hidden[0].length - 1);
  const at = (part) => values(`${layer.prefix}.${part}`)[time][unit];
  const before = (part) => {
    const earlier = layer.backward ? time + 1 : time - 1;
    return values(`${layer.prefix}.${part}`)[earlier]?.[unit] ?? values(`${layer.prefix}.initial_${part}`)?.[unit] ?? 0;
  };
  const lines =
    layer.cell === "lstm"
      ? [
          [
            "c_t",
            `${number(at("forget_gate"))} · ${signed(before("cell_state"))} + ` +
              `${number(at("input_gate"))} · ${signed(at("cell_gate"))}`,
            at("cell_state"),
          ],
          ["h_t", `${number(at("output_gate"))} · tanh(${number(at("cell_state"))})`, at("hidden_state")],
        ]
      : [
          [
            "h_t",
            `(1 − ${number(at("update_gate"))}) · ${signed(at("new_gate"))} + ` +
              `${number(at("update_gate"))} · ${signed(before("hidden_state"))}`,
            at("hidden_state"),
          ],
        ];
  const labelsOfTime = timeOf(layer).labels;
  return make(
    "div",
    { class: "hand" },
    make(
      "h3",
      {},
      say("unitByHand", { unit: unit + 1, time: time + 1 }),
      " ",
      labelsOfTime ? token(labelsOfTime[time]) : null,
    ),
    computation(lines),
    make("p", { class: "note" }, say("unitByHandText")),
  );
}

const signed = (value) => (value < 0 ? `(${number(value)})` : number(value));

/** Lines such as `c_t = 0.9 · 0.4 + 0.1 · 0.2 = 0.38`. */
function computation(lines) {
  return make(
    "div",
    { class: "computation", tabindex: 0, role: "group", "aria-label": say("byHand") },
    lines.map(([symbol, text, result]) =>
      make(
        "div",
        {},
        equation(symbol),
        ` = ${text} = `,
        make("strong", {}, typeof result === "string" ? result : number(result)),
      ),
    ),
  );
}

/** A row of buttons of which one is chosen. */
function choice(title, names, chosen, choose, key) {
  return make(
    "div",
    { class: "choice", role: "group", "aria-label": title },
    make("span", {}, title),
    names.map((name, index) =>
      make(
        "button",
        {
          type: "button",
          "aria-pressed": String(index === chosen),
          "data-focus": `choice-${key}-${index}`,
          onclick: () => choose(index),
        },
        name,
      ),
    ),
  );
}
