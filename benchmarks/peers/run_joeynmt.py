"""Joey NMT: a model by its own `build_model`, its loss; Adam and clipping."""

from types import SimpleNamespace

import joeynmt
import torch
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary
from serve import serve

PAD = 1  # its unknown token is 0
SYMBOLS = SimpleNamespace(
    unk_token="<unk>",
    pad_token="<pad>",
    bos_token="<s>",
    eos_token="</s>",
    sep_token=None,
    unk_id=0,
    pad_id=PAD,
    bos_id=2,
    eos_id=3,
    sep_id=None,
    lang_tags=[],
)


def swapped(ids):
    """Our ids with padding and unknown exchanged."""
    values = torch.tensor(ids)
    return torch.where(values < 2, 1 - values, values)


def prepare(task):
    """The step of a translator."""
    torch.set_num_threads(task["threads"])
    torch.manual_seed(task["seed"])
    sizes, design = task["sizes"], task["design"]
    if design["cell"] == "rnn" or not (design["feeding"] or design["order"] == "bahdanau"):
        raise SystemExit("Joey NMT has no such decoder")
    vocabulary = Vocabulary([f"w{number}" for number in range(4, sizes["vocabulary"])], SYMBOLS)
    embeddings = {"embedding_dim": sizes["embedding"]}
    common = {"rnn_type": design["cell"], "num_layers": design["layers"], "embeddings": embeddings}
    config = {
        "encoder": {"type": "recurrent", "hidden_size": sizes["encoder"], "bidirectional": True, **common},
        "decoder": {
            "type": "recurrent",
            "hidden_size": sizes["decoder"],
            "attention": design["order"],
            "input_feeding": design["feeding"],
            "init_hidden": "bridge",
            **common,
        },
    }
    model = build_model(config, vocabulary, vocabulary)
    model.loss_function = ("crossentropy", 0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    batches = []
    for batch in task["batches"]:
        lengths, order = torch.tensor(batch["lengths"]).sort(descending=True)  # as its batches are
        source, given, wanted = (swapped(batch[side])[order] for side in ("source", "given", "wanted"))
        masks = {"src_mask": (source != PAD).unsqueeze(1), "trg_mask": (wanted != PAD).unsqueeze(1)}
        batches.append({"src": source, "src_length": lengths, "trg_input": given, "trg": wanted, **masks})

    def step(number):
        batch = batches[number % len(batches)]
        optimizer.zero_grad()
        loss = model(return_type="loss", **batch)[0] / batch["trg_mask"].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, f"Joey NMT {joeynmt.__version__}, torch {torch.__version__}"


serve(prepare)
