// How a text comes out: the distribution of each token, the factors of its probability, the tree of the search.

/** The distribution of each step, as a table of the likeliest tokens. */
function distributionSection() {
  if (!data.top) return null;
  const ranks = range(Math.max(0, ...data.top.tokens.map((row) => row.length)));
  const heads = data.top.tokens.map((_, step) =>
    make("th", { scope: "col", class: step === page.step ? "marked" : null }, stepButton("top", step)),
  );
  const cell = (step, rank) => {
    const [name, share] = [data.top.tokens[step][rank], data.top.probabilities[step][rank]];
    if (name === undefined) return make("td");
    const isChosen = name === labels("target")?.[step];
    return make(
      "td",
      {
        class: [isChosen ? "chosen" : "", step === page.step ? "marked" : ""].join(" "),
        style: { "--share": `${(share * 100).toFixed(1)}%` },
      },
      token(name),
      make("small", {}, percent(share)),
    );
  };
  return [
    make("p", {}, say("distributionText")),
    explained(
      [String.raw`z = W \tilde{s}_t + b`, String.raw`p(y_t = w) = \frac{\exp(z_w)}{\sum_{v} \exp(z_v)}`],
      [
        ["p(y_t = w)", say("symbol.p")],
        ["z_w", say("symbol.z")],
        ["\\tilde{s}_t", say("symbol.output")],
      ],
    ),
    topBars(page.step),
    make(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": say("distributionAll") },
      make(
        "table",
        { class: "ranks" },
        make("caption", {}, say("distributionAll")),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, say("rank")), heads)),
        make(
          "tbody",
          {},
          ranks.map((rank) =>
            make(
              "tr",
              {},
              make("th", { scope: "row" }, rank + 1),
              range(heads.length).map((step) => cell(step, rank)),
            ),
          ),
        ),
      ),
    ),
  ];
}

/** The factors of the probability of the answer, their product and the perplexity. */
function factorSection() {
  const scores = data.prediction?.token_scores ?? [];
  const names = labels("target") ?? [];
  if (!["translate", "generate"].includes(data.task) || !scores.length || scores.length > names.length) return null;
  const history = (step) => [...(labels("input") ?? []).slice(Math.max(0, step - 3), step + 1)];
  let sum = 0;
  const rows = scores.map((score, step) => {
    sum += score;
    const given = [data.source ? make("em", {}, say("theSource"), ", ") : null, step > 3 ? "… " : null];
    const factor = ["P(", token(names[step]), " | ", given, history(step).map((name) => [token(name), " "]), ")"];
    const numbers = [Math.exp(score), score, Math.exp(sum)].map(number);
    return { cells: [stepButton("factor", step), factor, ...numbers], picked: step === page.step };
  });
  const tex = data.source
    ? String.raw`P(y \mid x) = \prod_{t=1}^{T} P(y_t \mid y_1 \dots y_{t-1} , x)`
    : String.raw`P(y) = \prod_{t=1}^{T} P(y_t \mid y_1 \dots y_{t-1})`;
  const symbols = [
    ["y_t", say("symbol.token")],
    ["T", say("symbol.T")],
  ];
  if (data.source) symbols.push(["x", say("symbol.x")]);
  const total = sumOf(scores);
  return [
    make("p", {}, say("factorText")),
    explained(tex, symbols),
    dataTable({ title: say("factors"), heads: [say("stepWord"), say("factor"), "P", "log P", say("product")], rows }),
    computation([
      ["\\log P", say("sumOfLogs", { count: scores.length }), total],
      ["P", `exp(${number(total)})`, Math.exp(total)],
      [String.raw`\text{perplexity}`, `exp(−${signed(total)} / ${scores.length})`, Math.exp(-total / scores.length)],
    ]),
    make("p", { class: "note" }, say("perplexityText")),
  ];
}

const MOST_STEPS = 150; // of a tree

/** The tree of the search, and the answers that it found. */
function beamSection() {
  if (!data.tree?.length) return null;
  const most = Math.max(...data.tree.map((node) => node.step));
  const kept = data.tree.filter((node) => node.step <= MOST_STEPS);
  const byId = new Map(data.tree.map((node) => [node.id, node]));
  const beginning = (node) => (node.parent === null ? [] : [...beginning(byId.get(node.parent)), visible(node.token)]);
  const describe = (node) =>
    [
      beginning(node).join(" ") || visible(node.token),
      say("nodeStep", { step: node.step }),
      `${say("logProb")} ${number(node.log_prob)} (${percent(Math.exp(node.log_prob))})`,
      `${say("sumLogProb")} ${number(node.score)}`,
      node.rank !== null
        ? say("nodeRank", { rank: node.rank + 1, score: number(node.ranked_by ?? node.score) })
        : node.ended
          ? say("nodeEnded")
          : "",
    ].filter(Boolean);
  const answers = data.tree.filter((node) => node.rank !== null).sort((one, other) => one.rank - other.rank);
  return [
    make("p", {}, say("beamText")),
    explained(String.raw`\text{score}(y_1 \dots y_t) = \sum_{i=1}^{t} \log P(y_i \mid y_1 \dots y_{i-1} , x)`, [
      ["y_i", say("symbol.token")],
      ["x", say("symbol.x")],
    ]),
    most > MOST_STEPS ? make("p", { class: "note" }, say("cutTree", { shown: MOST_STEPS, all: most })) : null,
    beamTree({ nodes: kept, title: say("beam"), describe }),
    answers.length ? answerTable(answers, beginning) : null,
  ];
}

function answerTable(answers, beginning) {
  const text = (node) => beginning(node).map((name) => [make("bdi", { class: "token" }, name), " "]);
  return dataTable({
    title: say("answers"),
    heads: [say("rank"), say("answer"), say("sumLogProb"), say("rankedBy")],
    rows: answers.map((node) => ({
      cells: [node.rank + 1, text(node), number(node.score), number(node.ranked_by ?? node.score)],
    })),
  });
}
