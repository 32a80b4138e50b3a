"""An entry fetched over HTTP, from a server that answers as Hugging Face does."""

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keras_adv import InvalidInput, hub, zoo
from keras_adv.pages import zoo as pages

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "standard_lenet_digits"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder whose files are those of somebody/nets at COMMIT, and what was asked for."""
    folder, asked = tmp_path / "repository", []
    shutil.copytree(zoo.path(NAME), folder)

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            owner, repo, _, commit, name = self.path.strip("/").split("/")
            asked.append((self.command, name))
            file = folder / name
            if (owner, repo, commit) != ("somebody", "nets", COMMIT) or not file.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound" if commit == COMMIT else "RevisionNotFound")
                self.end_headers()
                return b""
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

        def do_GET(self):
            self.wfile.write(self.do_HEAD())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    template = f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("KERAS_ADV_ZOO", str(tmp_path / "mine"))
    yield folder, asked
    server.shutdown()
    server.server_close()


def fetched(tmp_path, **options):
    return hub.fetch("somebody/nets", revision=COMMIT, out=tmp_path / "mine", **options)


def renamed(folder, new="their_net", **other):
    """Gives the entry of the repository a name of its own."""
    card = (folder / "card.json").read_text().replace(f'"name": "{NAME}"', f'"name": "{new}"')
    for old, value in other.items():
        assert old in card
        card = card.replace(old, value)
    (folder / "card.json").write_text(card)


def test_an_entry_is_fetched_and_loads_by_its_name(repository, tmp_path):
    renamed(repository[0])
    assert fetched(tmp_path, sha256=zoo.card(NAME).sha256) == "their_net"
    kept = {file.name for file in (tmp_path / "mine/their_net").iterdir()}
    assert kept == {"card.json", "README.md", "model.keras"} and len([*(tmp_path / "mine").iterdir()]) == 1
    assert zoo.path("their_net") == tmp_path / "mine/their_net"
    assert zoo.verify("their_net").sha256 == zoo.card(NAME).sha256
    assert zoo.load("their_net").count_params() == zoo.load(NAME).count_params()


def test_a_model_that_is_not_the_cards_is_never_opened(repository, tmp_path, monkeypatch):
    folder, _ = repository
    renamed(folder)
    content = bytearray((folder / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.keras").write_bytes(content)
    monkeypatch.setattr(zoo, "verify", lambda *_: pytest.fail("opened"))
    with pytest.raises(InvalidInput, match="sha256"):
        fetched(tmp_path)
    assert not (tmp_path / "mine").exists()


def test_a_model_of_another_size_or_of_another_digest_than_asked_is_not_downloaded(repository, tmp_path):
    folder, asked = repository
    renamed(folder)
    with pytest.raises(InvalidInput, match="`sha256` must be the card's"):
        fetched(tmp_path, sha256=64 * "1")
    (folder / "model.keras").write_bytes((folder / "model.keras").read_bytes() + b"more")
    with pytest.raises(InvalidInput, match=r"model\.keras has \d+ bytes"):
        fetched(tmp_path)
    assert ("GET", "model.keras") not in asked and not (tmp_path / "mine").exists()


def test_another_model_under_the_name_of_an_entry_is_refused(repository, tmp_path):
    renamed(repository[0], NAME, **{zoo.card(NAME).sha256: 64 * "a"})
    with pytest.raises(InvalidInput, match="a name of its own"):
        fetched(tmp_path)


@pytest.mark.parametrize("missing", ["card.json", "model.keras"])
def test_a_file_that_is_missing_is_named(missing, repository, tmp_path):
    renamed(repository[0])
    (repository[0] / missing).unlink()
    with pytest.raises(InvalidInput, match=missing):
        fetched(tmp_path)
    assert not (tmp_path / "mine").exists()


def test_an_entry_that_is_there_keeps_what_was_measured_and_another_is_not_overwritten(repository, tmp_path):
    renamed(repository[0])
    fetched(tmp_path)
    file = tmp_path / "mine/their_net/card.json"
    file.write_text(file.read_text().replace('"audit": []', '"audit": ["seen here"]'))
    assert fetched(tmp_path) == "their_net" and zoo.card("their_net").audit == ["seen here"]
    assert sum(asked == ("GET", "model.keras") for asked in repository[1]) == 1
    (tmp_path / "other/their_net").mkdir(parents=True)
    (tmp_path / "other/their_net/precious.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="a name of its own"):
        hub.fetch("somebody/nets", revision=COMMIT, out=tmp_path / "other")
    shutil.copytree(zoo.path("critic_lenet_digits"), tmp_path / "third/their_net")
    with pytest.raises(InvalidInput, match="a name of its own"):
        hub.fetch("somebody/nets", revision=COMMIT, out=tmp_path / "third")
    assert (
        zoo.path("critic_lenet_digits").joinpath("card.json").read_bytes()
        == (tmp_path / "third/their_net/card.json").read_bytes()
    )


def test_what_was_fetched_is_in_the_list_but_not_among_the_zoos_own(repository, tmp_path, monkeypatch):
    renamed(repository[0])
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    assert hub.fetch("somebody/nets", revision=COMMIT) == "their_net"
    assert "their_net" in zoo.list() and "their_net" not in zoo.list(own=True)
    assert zoo.load("their_net").count_params() and "their_net" not in pages.table()
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr(zoo.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert NAME in zoo.list() and "their_net" not in zoo.list()
    with pytest.raises(InvalidInput, match="`out`"):
        hub.fetch("somebody/nets", revision=COMMIT)


def test_a_commit_that_is_not_there_or_no_network_is_one_sentence(repository, tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="within reach"):
        hub.fetch("somebody/nets", revision=40 * "f", out=tmp_path)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{filename}")
    with pytest.raises(InvalidInput, match="within reach"):
        fetched(tmp_path)


BAD = [
    ({"repository": "nets"}, "`repository`"),
    ({"repository": "../../etc/x"}, "`repository`"),
    ({"revision": "main"}, "`revision`"),
    ({"revision": COMMIT[:8]}, "`revision`"),
    ({"sha256": "abc"}, "`sha256`"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=str)
def test_arguments_are_checked_before_anything_is_asked(options, said, repository, tmp_path):
    given = {"repository": "somebody/nets", "revision": COMMIT, "out": tmp_path} | options
    with pytest.raises(InvalidInput, match=said):
        hub.fetch(given.pop("repository"), **given)
    assert not repository[1]
