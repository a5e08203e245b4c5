"""The page of an explanation: one HTML file with every number, to be opened without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

LANGUAGES = ("en", "ko")
SCRIPTS = "base equations arrays charts bars lines recurrent attention generation prediction overview page".split()
"""In the order in which the page holds them."""
UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")  # what could end a script element, a line, or the file


def explanation_page(explanation: Mapping[str, Any], language: str = "en") -> str:
    """Write the page of an explanation, which holds all that it shows and asks for nothing else.

    Texts of the explanation stand in a block of JSON only, from which the page's script takes them as text; a policy in
    the page lets no other script run and nothing be fetched.

    Args:
        explanation: what `Explanation.to_dict` returns.
        language: the language in which the page opens, `en` or `ko`; a button changes it.
    """
    style, script = read("page.css"), "\n".join(read(f"{name}.js") for name in SCRIPTS)
    title = f"seq2att explain: {explanation['source'] or explanation['target']}"
    return Template(read("page.html")).substitute(
        language=language,
        title=html.escape(title[:120]).encode("utf-8", "replace").decode(),
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        explanation=safe_json(explanation),
        words=safe_json(json.loads(read("words.json"))),
    )


def read(name: str) -> str:
    """A file beside this one."""
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def policy_hash(text: str) -> str:
    """The hash by which a content security policy allows an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def safe_json(value: Any) -> str:
    """JSON that may stand in a script element, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
