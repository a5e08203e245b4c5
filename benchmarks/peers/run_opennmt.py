"""OpenNMT-py: its encoder, its input-feeding (or plain) decoder with general attention, its loss; Adam and clipping."""

import onmt
import torch
from onmt.decoders import InputFeedRNNDecoder, StdRNNDecoder
from onmt.encoders import RNNEncoder
from onmt.models import NMTModel
from onmt.modules import Embeddings
from serve import serve

PAD = 0


def prepare(task):
    """The step of a translator."""
    torch.set_num_threads(task["threads"])
    torch.manual_seed(task["seed"])
    sizes, design = task["sizes"], task["design"]
    if design["order"] != "luong" or design["cell"] == "rnn":
        raise SystemExit("OpenNMT-py has no such decoder")
    cell, layers, size = design["cell"].upper(), design["layers"], sizes["decoder"]
    tables = [Embeddings(sizes["embedding"], sizes["vocabulary"], PAD) for _ in range(2)]
    encoder = RNNEncoder(cell, True, layers, 2 * sizes["encoder"], 0.0, tables[0])
    decoder = (InputFeedRNNDecoder if design["feeding"] else StdRNNDecoder)(
        cell, True, layers, size, attn_type="general", embeddings=tables[1]
    )
    model = NMTModel(encoder, decoder)
    generator = torch.nn.Linear(size, sizes["vocabulary"])
    parameters = [*model.parameters(), *generator.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3)
    criterion = torch.nn.CrossEntropyLoss(ignore_index=PAD, reduction="sum")
    batches = []
    for batch in task["batches"]:
        source, given, wanted = (torch.tensor(batch[side]) for side in ("source", "given", "wanted"))
        target = torch.cat([given, wanted[:, -1:]], 1)  # begin, tokens, end; the model cuts the last one off
        batches.append((source.unsqueeze(2), target.unsqueeze(2), torch.tensor(batch["lengths"]), wanted))

    def step(number):
        source, target, lengths, wanted = batches[number % len(batches)]
        optimizer.zero_grad()
        outputs, _ = model(source, target, lengths)
        scores = generator(outputs.reshape(-1, size))
        loss = criterion(scores, wanted.reshape(-1)) / (wanted != PAD).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step, f"OpenNMT-py {onmt.__version__}, torch {torch.__version__}"


serve(prepare)
