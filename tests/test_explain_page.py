"""The page of `seq2att explain`: it holds the explanation and nothing foreign, and a browser shows it."""

from __future__ import annotations

import html.parser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seq2att
from seq2att import cli
from seq2att.drawing.explain import SCRIPTS, explanation_page, policy_hash, read
from seq2att.explanation import Explanation
from tests.refusals import refused

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> &lt; \u2028 \ud800 ${a} \" ' \\"
INPUTS = {"classes": "good film", "tags": "to new york", "texts": "ab"}


class Blocks(html.parser.HTMLParser):
    """The scripts, styles and other elements of a page, as a browser splits it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.place = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.place = dict(attributes).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self.place = ""

    def handle_data(self, text: str) -> None:
        self.texts[self.place] = self.texts.get(self.place, "") + text


@pytest.fixture(scope="module")
def reversed_text(reverse_run: Path) -> Explanation:
    return seq2att.load(reverse_run).explain("a b c", beam=2, gradient=True)


def test_the_page_holds_the_explanation(reversed_text: Explanation, tiny_run: Callable[[str], Path]) -> None:
    models = {name: seq2att.load(tiny_run(name)) for name in INPUTS}
    for explanation in [reversed_text, *(models[name].explain(text) for name, text in INPUTS.items())]:
        page = Blocks(explanation_page(explanation.to_dict()))
        assert json.loads(page.texts["explanation"]) == json.loads(explanation.to_json())
    equal = np.allclose(json.loads(page.texts["explanation"])["arrays"][0]["values"], next(iter(explanation.values())))
    assert equal


def cut(explanation: Explanation, limit: int) -> dict[str, Any]:
    """The arrays as a page has them, by name."""
    return {part["name"]: part for part in explanation.to_dict(limit, first_units=True)["arrays"]}


def test_an_array_that_is_too_large_has_its_first_units(reversed_text: Explanation) -> None:
    array = reversed_text["encoder.outputs"]  # [S, M]
    large = cut(reversed_text, array.size - 1)["encoder.outputs"]
    assert (large["shape"], large["shown"]) == (list(array.shape), array.shape[1] - 1)
    assert np.allclose(large["values"], array[:, :-1], atol=1e-5)
    assert cut(reversed_text, 2)["attention.weights"]["values"] is None, "its last axis is no unit"


def test_the_page_asks_for_nothing_and_runs_nothing_else(reversed_text: Explanation) -> None:
    text = explanation_page(reversed_text.to_dict())
    page = Blocks(text)
    assert re.findall(r"https?://[^\s\"'`<]+", text) == [  # names of languages, not addresses
        "http://www.w3.org/1998/Math/MathML",
        "http://www.w3.org/2000/svg",
    ]
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML|\beval\(", text)
    assert not [tag for tag, attributes in page.tags if {"src", "href"} & set(attributes)]
    (policy,) = [one["content"] for tag, one in page.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"script-src '{policy_hash(page.texts['script'])}'" in policy
    assert f"style-src '{policy_hash(page.texts['style'])}'" in policy


def test_hostile_text_stays_text(reversed_text: Explanation) -> None:
    described = reversed_text.to_dict() | {"source": HOSTILE, "target": HOSTILE}
    described["labels"] = {"source": [HOSTILE] * 3, "target": [HOSTILE] * 4}
    page = Blocks(explanation_page(described))
    assert json.loads(page.texts["explanation"]) == described
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert {"img"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.texts["title"].startswith("seq2att explain: </script>")
    explanation_page(described).encode()  # what UTF-8 cannot hold is escaped


def test_every_language_has_every_word_of_the_page() -> None:
    words: dict[str, dict[str, str]] = json.loads(read("words.json"))
    script = "\n".join(map(read, (f"{name}.js" for name in SCRIPTS)))
    assert set(words) == {"en", "ko"}
    assert set(words["en"]) == set(words["ko"])
    for key, text in words["en"].items():
        marks = [re.findall(r"\{\w+\}|\|", words[language][key]) for language in words]
        assert sorted(marks[0]) == sorted(marks[1]), key
        assert text
    assert set(re.findall(r"say\(\"([^\"]+)\"", script)) <= set(words["en"])
    literals, starts = set(re.findall(r"\"([\w. ]+)\"", script)), tuple(re.findall(r"say\(`([\w.]+)\$", script))
    assert {key for key in words["en"] if key not in literals and not key.startswith(starts)} == set(), "is not used"


def test_the_command_writes_the_page_and_says_the_answer(
    reverse_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/reverse").symlink_to(reverse_run)
    with pytest.raises(SystemExit):
        cli.main(["explain", "--help"])
    part = capsys.readouterr().out.partition("examples:\n")[2].partition("\n\n")[0]
    for example in map(str.strip, part.splitlines()):
        arguments = shlex.split(example)[1:]
        assert cli.main(arguments) == 0, example
        output = tmp_path / arguments[arguments.index("-o") + 1]
        assert capsys.readouterr().err == f"written to {output.name}\n"
        held = output.read_text("utf-8")
        data: dict[str, Any] = json.loads(held if output.suffix == ".json" else Blocks(held).texts["explanation"])
        assert data["has_target"] == ("--target" in arguments)
        assert bool(data["gradient"]) == ("--gradient" in arguments)
        assert (f'<html lang="{"ko" if "--language" in arguments else "en"}">' in held) == (output.suffix == ".html")
        output.unlink()


@pytest.mark.parametrize(
    ("arguments", "code", "subject"),
    [
        (["-o", "page.html"], "E-missing", "TEXT"),
        (["a b", "-o", "page.pdf"], "E-argument", "page.pdf"),
        (["a b", "--row", "1", "-o", "page.html"], "E-argument", "--row"),
        ([" ", "-o", "page.html"], "E-empty", "TEXT"),
        (["a \udcff", "-o", "page.html"], "E-encoding", "TEXT"),
        (["a", "--target", "\ud800", "-o", "page.html"], "E-encoding", "--target"),
    ],
)
def test_mistakes_write_nothing(
    reverse_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str, subject: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with refused(code, subject):
        cli.run(["explain", str(reverse_run), *arguments])
    assert not list(tmp_path.iterdir())


PROBE = """
const probe = (name) => document.querySelector(`[data-focus="${name}"]`);
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const seen = { sections: [...document.querySelectorAll("main > section")].map((one) => one.id), errors: [] };
addEventListener("error", (event) => seen.errors.push(event.message));
document.getElementById("attention").scrollIntoView(); // what is in sight is made anew at once
const where = () => document.querySelector(".where").textContent;
seen.steps = [where(), ...["ArrowRight", "ArrowRight", "ArrowLeft"].map((key) => (press(key), where()))];
const map = probe("map-attention");
map.focus();
map.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
seen.readout = map.closest("figure").querySelector(".readout").textContent;
seen.label = map.getAttribute("aria-label");
probe("language").click();
seen.korean = document.querySelector("#attention h2").textContent;
const dark = document.documentElement.hasAttribute("data-dark");
probe("theme").click();
seen.themed = document.documentElement.hasAttribute("data-dark") !== dark;
for (const one of document.querySelectorAll("details")) one.open = true;
seen.foreign = document.querySelectorAll("img, iframe, object").length;
seen.wide = document.documentElement.scrollWidth - innerWidth;
const report = document.createElement("pre");
report.id = "report";
report.textContent = JSON.stringify(seen);
document.body.append(report);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page(reversed_text: Explanation, tmp_path: Path) -> None:
    """Steps, numbers and languages by keys and buttons, in a page whose texts are hostile."""
    described = json.loads(reversed_text.to_json())
    described["labels"]["source"][1] = described["source"] = "<img src=x onerror=alert(1)> </script> العربية"
    page = re.sub(r"<meta http-equiv=[^>]+>", "", explanation_page(described))  # else the probe may not run
    (tmp_path / "page.html").write_text(page.replace("</body>", f"<script>{PROBE}</script></body>"), "utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=500,900", "--dump-dom", f"file://{tmp_path / 'page.html'}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    seen = json.loads(Blocks(shown).texts["report"])
    parts = "overview embedding encoder attention decoder distribution factors beam gradient arrays"
    assert seen["sections"] == parts.split()
    assert (seen["errors"], seen["foreign"]) == ([], 0)
    count = len(described["labels"]["target"])
    steps = [f"Step {step} / {count} {described['labels']['target'][step - 1]}" for step in (1, 2, 3, 2)]
    assert seen["steps"] == steps
    row = described["labels"]["target"][2]
    assert f"step 3: {row}" in seen["readout"]
    assert '["attention.weights"][2, ' in seen["readout"]
    assert seen["label"].startswith("Attention weight: 4 rows")
    assert seen["korean"] == "어텐션의 네 단계"
    assert seen["themed"]
    assert seen["wide"] <= 0, "the page is wider than the window"
