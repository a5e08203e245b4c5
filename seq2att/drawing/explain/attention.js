// Attention in four steps: scores, weights, context, concatenation and output.

const SCORES = {
  dot: String.raw`e_{t,s} = q_t^\top h_s`,
  scaled: String.raw`e_{t,s} = \frac{q_t^\top h_s}{\sqrt{Q}}`,
  general: [String.raw`k_s = W h_s`, String.raw`e_{t,s} = q_t^\top k_s`],
  additive: [String.raw`k_s = U h_s + b`, String.raw`e_{t,s} = v^\top \tanh(W q_t + k_s)`],
};

/** The section of the attention at one step; null where the model has none. */
function attentionSection() {
  if (!has("attention.weights") && !has("attention.context")) return null;
  const heads = arrays.get("attention.scores")?.axes[0] === "head" ? arrays.get("attention.scores").shape[0] : 1;
  return [
    make("p", {}, say("attentionText")),
    attentionMap(),
    heads > 1
      ? choice(
          say("chooseHead"),
          range(heads).map((index) => String(index + 1)),
          page.head ?? 0,
          (head) => change({ head }),
          "head",
        )
      : null,
    make("p", { class: "now" }, stepSentence()),
    make(
      "ol",
      { class: "steps" },
      [scoreStep(), weightStep(), contextStep(), outputStep()]
        .filter(Boolean)
        .map((step, index) =>
          make(
            "li",
            { class: "card" },
            make(
              "h3",
              {},
              make("span", { class: "count", "aria-hidden": "true" }, index + 1),
              step.title,
              " ",
              step.shape ?? null,
            ),
            make("div", { class: "pair" }, make("div", {}, step.words), make("div", {}, step.charts)),
          ),
        ),
    ),
  ];
}

function stepSentence() {
  const [reads, says] = [labels("input")?.[page.step], labels("target")?.[page.step]];
  if (says === undefined) return say("stepOnly", { step: page.step + 1 });
  const [before, middle, after] = say("stepReads", { step: page.step + 1 }).split("|");
  return [before, token(reads ?? ""), middle, token(says), after];
}

function attentionMap() {
  if (!has("attention.weights")) return missing("attention.weights");
  const rows = values("attention.weights");
  if (!rows.length || !rows[0].length) return null;
  return heatMap({
    title: say("array.weights"),
    name: "attention.weights",
    key: "attention",
    isLarge: true,
    width: contentWidth(),
    scale: scaleOf(rows, { signed: false }),
    values: rows,
    shapeOf: shapeOf("attention.weights"),
    rows: axisOf("target"),
    columns: axisOf("source"),
    row: page.step,
    column: page.position,
    pick: (step, position) => change({ step, position }),
  });
}

function sourceBars(title, row, key, heads, options = {}) {
  const names = labels("source");
  return bars({
    title,
    key,
    heads,
    picked: page.position,
    pick: (position) => change({ position }),
    isPlain: !names,
    rows: row.map((value, index) => ({ label: names ? names[index] : String(index + 1), value })),
    ...options,
  });
}

function vector(title, name, row, index, options = {}) {
  return heatMap({
    title,
    name,
    key: `${name}-${title}`,
    low: true,
    width: (contentWidth() > 700 ? contentWidth() / 2 : contentWidth()) - 40,
    scale: scaleOf([row], { signed: true }),
    values: [row],
    shapeOf: make(
      "span",
      { class: "shape" },
      `[${unitLetter(name)} = ${arrays.get(name)?.shape.at(-1) ?? row.length}]`,
    ),
    rows: { name: "", labels: null },
    columns: { name: say("axis.unit"), labels: null },
    index: (_, unit) => [...index, unit],
    ...options,
  });
}

function scoreStep() {
  const scores = perHead("attention.scores")?.[page.step];
  if (!scores) return null;
  const kind = data.components.attention;
  const own = arrays.get("attention.scores").equation ?? "";
  const tex = SCORES[data.components.scaled ? "scaled" : kind];
  const symbols = [
    ["e_{t,s}", say("symbol.e")],
    ["q_t", say(data.components.order === "bahdanau" ? "symbol.qBefore" : "symbol.q")],
    ["h_s", say("symbol.h")],
  ];
  if (data.components.scaled) symbols.push(["Q", say("symbol.Q")]);
  if (kind !== "dot") symbols.push(["k_s", say("symbol.k")]);
  if (kind === "additive") symbols.push(["v", say("symbol.v")], ["W", say("symbol.W")]);
  if (kind === "general") symbols.push(["W", say("symbol.Wgeneral")]);
  const query = values("attention.query")?.[page.step];
  return {
    title: say("step1"),
    shape: make("span", { class: "shape" }, `[S = ${scores.length}]`),
    words: [
      make("p", {}, say("step1Text")),
      tex ? explained(tex, symbols) : make("p", { class: "plain" }, own || say("ownScore", { name: kind ?? "?" })),
      dotByHand(kind),
    ],
    charts: [
      query ? vector(say("array.query"), "attention.query", query, [page.step]) : null,
      sourceBars(say("array.scores"), scores, "score", [tokenWord(), say("array.scores")]),
    ],
  };
}

/** The first products of the score at the chosen position, for attentions that are one product of query and key. */
function dotByHand(kind) {
  const [query, keys] = [
    values("attention.query")?.[page.step],
    values("attention.keys") ?? values("attention.values"),
  ];
  const score = perHead("attention.scores")?.[page.step]?.[page.position];
  if (!["dot", "general"].includes(kind) || !query || !keys?.[page.position] || keys[0].length !== query.length)
    return null;
  const scale = data.components.scaled ? Math.sqrt(query.length) : 1;
  const products = query.map((value, unit) => value * keys[page.position][unit]);
  if (Math.abs(sumOf(products) / scale - score) > 1e-3 * Math.max(1, Math.abs(score))) return null; // cut
  const first = range(Math.min(3, query.length))
    .map((unit) => `${signed(query[unit])} · ${signed(keys[page.position][unit])}`)
    .join(" + ");
  const sum = `${first}${query.length > 3 ? ` + … (${say("products", { count: query.length })})` : ""}`;
  const term = scale === 1 ? sum : `(${sum}) / ${number(scale)}`;
  return computation([[`e_{${page.step + 1},${page.position + 1}}`, term, score]]);
}

function weightStep() {
  const name = has("attention.head_weights") ? "attention.head_weights" : "attention.weights";
  const row = perHead(name)?.[page.step];
  if (!row) return null;
  const isSoftmax = Boolean(arrays.get(name).equation);
  const scores = perHead("attention.scores")?.[page.step];
  const [t, s] = [page.step + 1, page.position + 1];
  const hand = [];
  if (scores) {
    const top = Math.max(...scores);
    const total = sumOf(scores.map((score) => Math.exp(score - top)));
    const weight = Math.exp(scores[page.position] - top) / total;
    if (Math.abs(weight - row[page.position]) < 1e-3) {
      hand.push(
        computation([
          [
            String.raw`\alpha_{${t},${s}}`,
            `exp(${number(scores[page.position])} − ${signed(top)}) / ${number(total)}`,
            row[page.position],
          ],
        ]),
        make("p", { class: "note" }, say("softmaxText")),
      );
    }
  }
  return {
    title: say("step2"),
    shape: make("span", { class: "shape" }, `[S = ${row.length}]`),
    words: isSoftmax
      ? [
          make("p", {}, say("step2Text")),
          explained(String.raw`\alpha_{t,s} = \frac{\exp(e_{t,s})}{\sum_{r} \exp(e_{t,r})}`, [
            ["\\alpha_{t,s}", say("symbol.alpha")],
            ["e_{t,s}", say("symbol.e")],
            ["\\sum_r", say("symbol.sumSource")],
          ]),
          hand,
        ]
      : make("p", {}, say("ownWeights")),
    charts: sourceBars(say("array.weights"), row, "weight", [tokenWord(), say("array.weights")], {
      reach: 1,
      rows: undefined,
      ...weightRows(row),
    }),
  };
}

const tokenWord = () => say(labels("source") ? "token" : "axis.source");
const weightRows = (row) => ({
  rows: row.map((value, index) => ({
    label: labels("source")?.[index] ?? String(index + 1),
    value,
    text: `${number(value)}  (${percent(value)})`,
  })),
});

function contextStep() {
  const [row, memory, context] = [
    perHead("attention.weights")?.[page.step],
    values("attention.values"),
    values("attention.context")?.[page.step],
  ];
  if (!context) return null;
  const weighted =
    row && memory ? memory.map((vectorOf, position) => vectorOf.map((value) => value * row[position])) : [];
  const total = weighted.length ? weighted[0].map((_, unit) => sumOf(weighted.map((one) => one[unit]))) : [];
  const isSum =
    total.length === context.length &&
    context.every((value, unit) => Math.abs(value - total[unit]) < 1e-3 * Math.max(1, Math.abs(value)));
  const unit = clamp(page.unit ?? 0, 0, context.length - 1);
  const scale = scaleOf([...weighted, context], { signed: true });
  const room = (contentWidth() > 700 ? contentWidth() / 2 : contentWidth()) - 40;
  const symbols = [
    ["c_t", say("symbol.context")],
    ["\\alpha_{t,s}", say("symbol.alpha")],
    ["h_s", say("symbol.h")],
  ];
  return {
    title: say("step3"),
    shape: make("span", { class: "shape" }, `[C = ${arrays.get("attention.context").shape.at(-1)}]`),
    words: [
      make("p", {}, say(isSum ? "step3Text" : "ownContext")),
      isSum ? explained(String.raw`c_t = \sum_{s} \alpha_{t,s} h_s`, symbols) : null,
      isSum ? contextByHand(row, memory, context, unit) : null,
    ],
    charts: [
      isSum
        ? heatMap({
            title: say("array.weighted_values"),
            name: "attention.weighted_values",
            width: room,
            scale,
            values: weighted,
            shapeOf: shapeOf("attention.values"),
            rows: axisOf("source"),
            columns: { name: say("axis.unit"), labels: null },
            row: page.position,
            column: context.length < 60 ? page.unit : undefined,
            index: (s, j) => [page.step, s, j],
            pick: (position, chosen) => change({ position, unit: chosen }),
          })
        : null,
      vector(say(isSum ? "array.context" : "flow.attention.context"), "attention.context", context, [page.step], {
        scale,
        pick: (_, chosen) => change({ unit: chosen }),
      }),
    ],
  };
}

function contextByHand(row, memory, context, unit) {
  const order = range(row.length)
    .sort((one, other) => row[other] - row[one])
    .slice(0, 3)
    .sort((one, other) => one - other);
  const first = order.map((position) => `${number(row[position])} · ${signed(memory[position][unit])}`).join(" + ");
  const rest = row.length > 3 ? " + …" : "";
  return computation([[`c_{${page.step + 1}}[${unit + 1}]`, `${first}${rest}`, context[unit]]]);
}

function outputStep() {
  const outputs = values("decoder.outputs")?.[page.step];
  if (!outputs) return null;
  const joined = values("decoder.concatenation")?.[page.step];
  const isBahdanau = data.components.order === "bahdanau";
  const tex = isBahdanau
    ? String.raw`\tilde{s}_t = \tanh(W [s_t ; c_t ; y_{t-1}])`
    : String.raw`\tilde{s}_t = \tanh(W [s_t ; c_t])`;
  const symbols = [
    ["\\tilde{s}_t", say("symbol.output")],
    ["s_t", say("symbol.state")],
    ["c_t", say("symbol.context")],
    ["W", say("symbol.Wreadout")],
  ];
  if (isBahdanau) symbols.push(["y_{t-1}", say("symbol.y")]);
  return {
    title: say(joined ? "step4" : "step4Plain"),
    shape: make(
      "span",
      { class: "shape" },
      joined
        ? `[N = ${sizeOf("decoder.concatenation")} → D = ${sizeOf("decoder.outputs")}]`
        : `[D = ${sizeOf("decoder.outputs")}]`,
    ),
    words: [make("p", {}, say(joined ? "step4Text" : "step4PlainText")), joined ? explained(tex, symbols) : null],
    charts: [
      joined
        ? vector(say("array.concatenation"), "decoder.concatenation", joined, [page.step], {
            parts: joinedParts(joined.length),
          })
        : null,
      vector(say("array.outputs"), "decoder.outputs", outputs, [page.step]),
      topBars(page.step, 5),
    ],
  };
}

/** What was put side by side, with its size; null where that is not known. */
function joinedParts(size) {
  const top = layersOf("decoder").at(-1);
  const parts = [
    ["state", `${top?.prefix}.hidden_state`],
    ["context", "attention.context"],
    ["read", "target.embedding"],
  ].map(([key, name]) => ({ name: say(`joined.${key}`), size: arrays.get(name)?.shape.at(-1) ?? 0 }));
  const used = data.components.order === "bahdanau" ? parts : parts.slice(0, 2);
  return sumOf(used.map((part) => part.size)) === size ? used : null;
}

/** The likeliest tokens of a step. */
function topBars(step, most = Infinity) {
  if (!data.top) return null;
  const [tokens, shares] = [data.top.tokens[step] ?? [], data.top.probabilities[step] ?? []];
  const chosen = labels("target")?.[step];
  return bars({
    title: say("distribution", { step: step + 1 }),
    key: `top-${most}`,
    heads: [say("token"), say("probability")],
    reach: 1,
    picked: tokens.indexOf(chosen),
    rows: tokens.slice(0, most).map((name, index) => ({
      label: name,
      value: shares[index],
      text: `${number(shares[index])}  (${percent(shares[index])})`,
    })),
  });
}
