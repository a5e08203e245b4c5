"""The audit of data: what is wrong with files, texts, pairs, labels and splits, with file, line and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2att import model, registry
from seq2att.audit.checking import check_blocks, make_context
from seq2att.audit.cleaning import write_clean
from seq2att.audit.intake import Intake
from seq2att.audit.report import Report
from seq2att.audit.sampling import sampled_remarks
from seq2att.audit.table import DEFECTS, Defect
from seq2att.reader import SPLITS

__all__ = ["DEFECTS", "Defect", "Report", "audit", "sampled_remarks", "write_clean"]


def audit(config: Mapping[str, Any]) -> Report:
    """Read all splits of a resolved configuration once, and examine them.

    Raises:
        UserError: a setting is wrong or a file is missing; what is wrong inside the files is in the report.
    """
    reader = registry.build("reader", config)
    source, target = model.make_fields(config)
    root = Path(config["data"]["root"]).expanduser() if config["data"]["root"] else None
    reader.check(root)
    context = make_context(config, {"source": source, "target": target}, reader)
    intake = Intake(reader, root, context)
    check_blocks(context, (block for split in SPLITS if split in reader.splits() for block in intake.blocks(split)))
    return Report(context.findings.sorted(context.rows), context.rows, intake)
