// What other heads predict: classes, numbers, tags; and the gradients.

/** Pooling by attention, in the same steps. */
function poolingSection() {
  const kinds = ["last", "mean", "max", "attend"].filter((kind) => has(`pooling.${kind}`));
  if (!kinds.length && !has("pooling.weights")) return null;
  const [scores, weights] = [perHead("pooling.scores"), perHead("pooling.weights")];
  const row = weights && (Array.isArray(weights[0]) ? weights[0] : weights);
  return [
    make("p", {}, say("poolingText", { kinds: kinds.map((kind) => say(`pool.${kind}`)).join(", ") })),
    row
      ? [
          make("p", {}, say("poolAttendText")),
          explained(
            [String.raw`\alpha_s = \frac{\exp(e_s)}{\sum_{r} \exp(e_r)}`, String.raw`c = \sum_{s} \alpha_s h_s`],
            [
              ["e_s", say("symbol.ePool")],
              ["\\alpha_s", say("symbol.alphaPool")],
              ["h_s", say("symbol.h")],
              ["c", say("symbol.cPool")],
            ],
          ),
          make(
            "div",
            { class: "pair" },
            scores
              ? sourceBars(say("array.scores"), Array.isArray(scores[0]) ? scores[0] : scores, "poolscore", [
                  tokenWord(),
                  say("array.scores"),
                ])
              : null,
            sourceBars(say("array.weights"), row, "poolweight", [tokenWord(), say("array.weights")], {
              reach: 1,
              ...weightRows(row),
            }),
          ),
        ]
      : null,
    kinds.map((kind) =>
      vector(capital(say(`pool.${kind}`)), `pooling.${kind}`, values(`pooling.${kind}`), [], { width: contentWidth() }),
    ),
  ];
}

function classSection() {
  const probabilities = data.prediction?.probabilities;
  if (!probabilities) return null;
  const names = labels("class") ?? Object.keys(probabilities);
  const logits = values("head.logits");
  const isTwo = names.length === 2;
  const tex = isTwo
    ? String.raw`p(2) = \frac{1}{1 + \exp(-z)}`
    : String.raw`p(k) = \frac{\exp(z_k)}{\sum_{j} \exp(z_j)}`;
  const rows = names.map((name, index) => ({
    label: name,
    value: probabilities[name],
    text: `${number(probabilities[name])}  (${percent(probabilities[name])})`,
    note: logits ? `z = ${number(logits[index])}` : undefined,
  }));
  rows.sort((one, other) => other.value - one.value);
  return [
    make("p", {}, say(isTwo ? "twoClassText" : "classText")),
    explained(
      tex,
      isTwo
        ? [
            ["z", say("symbol.logit")],
            ["p(2)", say("symbol.p2", { name: visible(names[1]) })],
          ]
        : [
            ["z_k", say("symbol.zk")],
            ["p(k)", say("symbol.pk")],
          ],
    ),
    bars({
      title: say("classes"),
      key: "class",
      heads: [say("axis.class"), say("probability"), ...(logits ? [say("array.logits")] : [])],
      rows,
      reach: 1,
      picked: 0,
    }),
  ];
}

function valueSection() {
  const value = arrays.get("head.value")?.values;
  return value === undefined || value === null
    ? null
    : [make("p", {}, say("valueText")), make("p", { class: "big" }, number(value))];
}

const MOST_TAGS = 24; // that a map shows without a choice
const LIKELY = 0.01;

/** The tags that a map shows: all if they are few, else those of the path and those that are likely somewhere. */
function shownTags(emissions, probabilities, path) {
  const all = range(emissions[0].length);
  if (all.length <= MOST_TAGS) return all;
  const best = (tag) => Math.max(...(probabilities ?? emissions).map((row) => row[tag]));
  const likely = all.filter((tag) => path?.includes(tag) || (probabilities && best(tag) >= LIKELY));
  return likely.length > 1 ? likely : all.sort((one, other) => best(other) - best(one)).slice(0, MOST_TAGS);
}

/** Tags: scores of each tag at each item, the transitions, and the best path. */
function tagSection() {
  const emissions = values("head.emissions");
  if (!emissions?.length) return null;
  const path = values("head.best_path");
  const probabilities = values("head.log_probs")?.map((row) => row.map(Math.exp));
  const tags = shownTags(emissions, probabilities, path);
  const only = (rows) => rows.map((row) => tags.map((tag) => row[tag]));
  const names = { name: say("axis.tag"), labels: tags.map((tag) => labels("tag")?.[tag] ?? String(tag)) };
  const common = {
    rows: names,
    columns: axisOf("source"),
    isLarge: true,
    width: contentWidth(),
    column: page.position,
    path: path?.map((tag) => tags.indexOf(tag)),
    pick: (_, position) => change({ position }),
    index: (tag, position) => [position, tags[tag]],
  };
  const map = (name, title, rows, scale) =>
    heatMap({
      ...common,
      title,
      name,
      key: title,
      values: transposed(only(rows)),
      scale: scale ?? scaleOf(only(rows)),
      shapeOf: shapeOf(name),
    });
  const pairs = values("crf.transitions") && only(tags.map((tag) => values("crf.transitions")[tag]));
  const isChain = has("crf.transitions");
  return [
    make("p", {}, say(isChain ? "crfText" : "tagText")),
    isChain
      ? explained(String.raw`\text{score}(y) = a_{y_1} + \sum_{s} e_{s,y_s} + \sum_{s} t_{y_s,y_{s+1}} + b_{y_S}`, [
          ["e_{s,y}", say("symbol.emission")],
          ["t_{y,z}", say("symbol.transition")],
          ["a_y", say("symbol.start")],
          ["b_y", say("symbol.end")],
        ])
      : explained(String.raw`p(y_s = k) = \frac{\exp(e_{s,k})}{\sum_{j} \exp(e_{s,j})}`, [
          ["e_{s,k}", say("symbol.emission")],
          ["p(y_s = k)", say("symbol.ptag")],
        ]),
    itemBars(emissions, probabilities, path),
    tags.length < emissions[0].length
      ? make("p", { class: "note" }, say("cutTags", { shown: tags.length, all: emissions[0].length }))
      : null,
    probabilities ? map("head.log_probs", say("probabilityOfTags"), probabilities, { low: 0, high: 1 }) : null,
    map("head.emissions", say("array.emissions"), emissions),
    has("crf.viterbi_scores")
      ? map("crf.viterbi_scores", say("array.viterbi_scores"), values("crf.viterbi_scores"))
      : null,
    isChain
      ? [
          heatMap({
            title: say("array.transitions"),
            name: "crf.transitions",
            isLarge: true,
            width: contentWidth(),
            values: pairs,
            scale: scaleOf(pairs, { signed: true }),
            shapeOf: shapeOf("crf.transitions"),
            rows: { ...names, name: say("axis.previous_tag") },
            columns: names,
            index: (before, after) => [tags[before], tags[after]],
          }),
          pathByHand(emissions, path),
        ]
      : null,
  ];
}

const axisOf2 = (axis) => ({ name: say(`axis.${axis}`), labels: labels(axis) ?? labels("tag") });

function itemBars(emissions, probabilities, path) {
  const position = clamp(page.position, 0, emissions.length - 1);
  const order = range(emissions[position].length)
    .sort((one, other) => (probabilities ?? emissions)[position][other] - (probabilities ?? emissions)[position][one])
    .slice(0, 12);
  const names = labels("tag");
  return bars({
    title: say("tagsOf", { token: visible(labels("source")?.[position] ?? String(position + 1)) }),
    key: "tag",
    heads: [say("axis.tag"), say(probabilities ? "probability" : "array.emissions"), say("array.emissions")],
    reach: probabilities ? 1 : 0,
    picked: path ? order.indexOf(path[position]) : undefined,
    rows: order.map((tag) => ({
      label: names?.[tag] ?? String(tag),
      value: (probabilities ?? emissions)[position][tag],
      note: number(emissions[position][tag]),
    })),
  });
}

/** The score of the best path, term by term, and its probability. */
function pathByHand(emissions, path) {
  if (!path) return null;
  const [start, end, pairs] = [values("crf.start"), values("crf.end"), values("crf.transitions")];
  const names = (tag) => labels("tag")?.[tag] ?? String(tag);
  let sum = 0;
  const rows = path.map((tag, position) => {
    const step = position === 0 ? (start?.[tag] ?? 0) : pairs[path[position - 1]][tag];
    const last = position === path.length - 1 ? (end?.[tag] ?? 0) : null;
    sum += step + emissions[position][tag] + (last ?? 0);
    const texts = [token(labels("source")?.[position] ?? String(position + 1)), token(names(tag))];
    const numbers = [step, emissions[position][tag], last, sum].map((value) => (value === null ? "" : number(value)));
    return { cells: [...texts, ...numbers], picked: position === page.position };
  });
  const heads = ["axis.source", "axis.tag", "array.transitions", "array.emissions", "endScore", "sumSoFar"];
  const [score, total] = ["crf.path_score", "crf.log_partition"].map((name) => arrays.get(name)?.values);
  return [
    dataTable({ title: say("bestPath"), heads: heads.map(say), rows }),
    typeof score === "number" && typeof total === "number"
      ? [
          computation([
            ["\\log P", `${number(score)} − ${signed(total)}`, score - total],
            ["P", `exp(${number(score - total)})`, Math.exp(score - total)],
          ]),
          make("p", { class: "note" }, say("partitionText")),
        ]
      : null,
  ];
}

function gradientSection() {
  if (!data.gradient?.length) return null;
  const series = data.gradient
    .filter(({ norm }) => norm.length)
    .map(({ name, axis, distance, norm }) => {
      const title = gradientName(name);
      const texts = axis === "target" ? labels("input") : labels(axis);
      const points = distance.map((far, index) => ({
        x: far,
        y: norm[index],
        lines: [
          `${title}: ${number(norm[index])}`,
          say("distanceOf", { distance: far }),
          texts ? visible(texts[index] ?? "") : "",
          address(`gradient.${name}`, [index]),
        ].filter(Boolean),
      }));
      return { name: title, points: points.sort((one, other) => other.x - one.x), axis };
    });
  return [
    make("p", {}, say("gradientText", { loss: [say(`lossOf.${data.loss_of ?? "row"}`), number(data.loss)].join(" ") })),
    explained(String.raw`\text{norm}_s = \sqrt{\sum_{j} (\frac{\partial L}{\partial h_{s,j}})^2}`, [
      ["L", say("symbol.L")],
      ["h_{s,j}", say("symbol.hsj")],
    ]),
    ["source", "target"].map((axis) => {
      const some = series.filter((one) => one.axis === axis);
      return some.length
        ? [
            logChart({
              title: say(`gradient.${axis}`),
              series: some,
              width: contentWidth(),
              xName: say("distance"),
              yName: say("norm"),
            }),
            gradientTable(some),
          ]
        : null;
    }),
  ];
}

const gradientName = (name) => {
  const prefix = name.slice(0, name.lastIndexOf("."));
  const part = name.slice(name.lastIndexOf(".") + 1);
  const place = /layer/.test(prefix)
    ? `${say(`part.${prefix.split(".")[0]}`)}, ${layerName(prefix)}`
    : ["source", "target"].includes(prefix)
      ? null
      : prefix;
  return [place, `array.${part}` in words.en ? say(`array.${part}`) : part].filter(Boolean).join(": ");
};

function gradientTable(series) {
  const heads = [say("distance"), ...series[0].points.map((point) => point.x)];
  const rows = series.map(({ name, points }) => ({ cells: [name, ...points.map((point) => number(point.y))] }));
  const table = dataTable({ title: say("norm"), heads, rows, texts: 1, kind: "numbers" });
  return make("details", {}, make("summary", {}, say("numbers")), table);
}
