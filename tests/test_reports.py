"""The pages to look at: figures and pictures within, read back by a parser and by a browser."""

import dataclasses
import html.parser
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras_adv
from keras_adv.evaluation import records, surface
from keras_adv.pages import reports
from keras_adv.threats import Linf

ATTACKS = ["pgd(threat=linf(eps=0.15), steps=5)", "ddn(steps=10)"]


class Page(html.parser.HTMLParser):
    """Cells of tables, sources of pictures, and the tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.sources, self.open, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "img":
            self.sources.append(dict(attrs)["src"])
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if "td" in self.open:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def report(net, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    x, y = digits.test[0][:80], digits.test[1][:80]
    results = keras_adv.evaluate(net, x, y, ATTACKS, records=folder / "records.npz")
    results |= {"model": "<b>net</b>", "audit": ["1 & 2"]}
    reports.write_report(folder / "report.html", results, records.load(folder / "records.npz"))
    return folder / "report.html", results


def test_a_report_has_every_figure_and_needs_nothing_else(report):
    file, results = report
    text = file.read_text()
    page = Page(text)
    assert not page.open
    rows = {row[0]: row[1:] for row in page.rows if row}
    for attack in results["attacks"]:
        robust = attack["robust_accuracy"]
        assert rows[attack["spec"]][0] == ("" if robust is None else f"{robust:.2%}")
        assert rows[attack["spec"]][2] == f"{attack['success_rate']:.2%}"
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    assert "http" not in text
    assert "<b>net</b>" not in text and "1 &amp; 2" in text  # what comes from outside is text


def test_the_gallery_shows_what_was_fooled_by_class(report, net, digits):
    file, _ = report
    kept = records.load(file.with_name("records.npz"))
    rows, after = kept["0_shown"], kept["0_after"] / 255.0
    assert (kept["label"][rows] == kept["prediction"][rows]).all() and kept["0_success"][rows].all()
    np.testing.assert_array_equal(kept["label"][rows], np.sort(kept["label"][rows]))
    assert np.abs(after - digits.test[0][rows]).max() <= 0.15 + 1 / 255
    captions = [t for t in Page(file.read_text()).text if "%)" in t]
    assert len(captions) >= 2 * len(rows)


def test_the_loss_surface_is_shown_with_its_words(report, net, digits, tmp_path):
    file, results = report
    kept = records.load(file.with_name("records.npz"))
    found = surface(net, *(part[:20] for part in digits.test), "linf(eps=0.1)")
    reports.write_report(tmp_path / "report.html", results, kept, found)
    page, plain = Page((tmp_path / "report.html").read_text()), Page(file.read_text())
    assert not page.open and len(page.sources) == len(plain.sources) + 1
    text = " ".join(page.text)
    assert found.words in text and "Loss surface of 3 images, linf(eps=0.1)" in text
    flat = found._replace(margins=np.full((1, 17, 17), np.nan))  # what has no finite answer has a picture too
    reports.write_report(tmp_path / "report.html", results, kept, flat)


def test_records_of_another_evaluation_and_damaged_results_are_refused(report, tmp_path):
    file, results = report
    kept = records.load(file.with_name("records.npz"))
    for wrong in ({**results, "attacks": results["attacks"][:1]}, {**results, "n": 7}):
        with pytest.raises(keras_adv.InvalidInput, match="`records` must be those of the results"):
            reports.write_report(tmp_path / "x.html", wrong, kept)
    with pytest.raises(keras_adv.InvalidInput, match="`results` must be those of an evaluation"):
        reports.write_report(tmp_path / "x.html", {}, kept)
    with pytest.raises(keras_adv.InvalidInput, match="`out` must be"):
        reports.write_report(tmp_path, results, kept)
    assert not (tmp_path / "x.html").exists()


def test_attacks_of_one_name_are_told_apart():
    two = [keras_adv.attacks.PGD(loss=word) for word in ("cross_entropy", "margin")]
    assert reports._names(two) == [str(one) for one in two] and reports._names(two[:1]) == ["pgd"]


def test_the_zoo_has_a_page_of_its_own(tmp_path):
    reports.write_zoo(tmp_path / "zoo.html")
    page = Page((tmp_path / "zoo.html").read_text())
    assert not page.open and {row[0] for row in page.rows if len(row) == 7} == set(keras_adv.zoo.list())


def test_that_page_shows_how_a_training_went_and_what_an_audit_was_made_at(tmp_path, monkeypatch):
    card = keras_adv.zoo.card("standard_lenet_digits").with_audit(["a finding"], Linf(eps=0.3), 50)
    curve = [{"epoch": k, "seconds": 2.0, "accuracy": 0.5, "val_accuracy": 0.4} for k in (1, 2)]
    took = {"flop": 10**15, "forward_flop": 10**6, "epochs": 2, "curve": curve}
    for training, pictures in ((None, 0), (took, 1)):
        one = dataclasses.replace(card, training=training)
        monkeypatch.setattr(reports, "measured", lambda one=one: [one])
        reports.write_zoo(tmp_path / "zoo.html")
        page = (tmp_path / "zoo.html").read_text()
        assert page.count("data:image/svg") == pictures and ("1.00e+15 FLOP" in page) == bool(pictures)
        assert "linf(eps=0.3)</code>, on 50 images: a finding" in page
        assert not Page(page).open


BROWSER = """
import json, sys
from PySide6.QtCore import QTimer, QUrl
from PySide6.QtWebEngineCore import QWebEnginePage
from PySide6.QtWidgets import QApplication

app, messages = QApplication(sys.argv), []

class Page(QWebEnginePage):
    def javaScriptConsoleMessage(self, level, message, line, source):
        messages.append(message)

page = Page()

def answer(found):
    print(json.dumps([found, messages]))
    app.quit()

page.loadFinished.connect(lambda ok: page.runJavaScript(sys.argv[2], answer))
page.load(QUrl.fromLocalFile(sys.argv[1]))
QTimer.singleShot(60000, app.quit)
app.exec()
"""
LOOKS = """
document.querySelectorAll("#attacks th button")[3].click();
const first = document.querySelectorAll("#attacks tbody tr")[0].innerText;
const choice = document.querySelector("select[name=true]");
choice.value = choice.options[1].value; choice.onchange();
const figures = [...document.querySelectorAll("[data-gallery='0'] figure")];
const clean = document.querySelector("#clean").innerText;
const shown = figures.filter(f => !f.hidden).map(f => f.dataset.true);
JSON.stringify([clean, first, shown, [...document.images].every(i => i.complete && i.naturalWidth > 0)])
"""


@pytest.mark.slow
def test_a_browser_reads_it_sorts_its_table_and_filters_its_gallery(report):
    pytest.importorskip("PySide6.QtWebEngineCore")
    file, results = report
    flags = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu"}
    command = [sys.executable, "-c", BROWSER, str(file), LOOKS]
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True, timeout=120)
    found, messages = json.loads(done.stdout.splitlines()[-1])
    clean, first, shown, pictures = json.loads(found)
    assert not messages and pictures
    assert clean == f"{results['clean_accuracy']:.2%}"
    least = min(results["attacks"], key=lambda row: row["success_rate"])
    assert least["spec"] in first
    assert shown and len(set(shown)) == 1
