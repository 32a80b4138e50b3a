"""The page in a real browser: keys, reloads, a browser that is killed, two people, no storage, a phone."""

import base64
import json

import browser as chromium
import pytest

from keras_adv import study

pytestmark = chromium.needed
READY = "document.body?.dataset.ready === 'yes'"
SEEN = "study.images.find(one => one.src === byId('picture').getAttribute('src')).id"
KEPT = "byId('said').dataset.kept === 'yes'"


@pytest.fixture
def started(tmp_path):
    """-> a browser whose data are in one folder, each time a new process. All are killed."""
    made = []

    def start(**size):
        made.append(chromium.Browser(tmp_path / "profile", **size))
        return made[-1]

    yield start
    for one in made:
        one.kill()


def label(one, given, *keys):
    """Presses keys at the next image and goes on; notes what it must have been given."""
    image = one.js(SEEN)
    one.press(*keys)
    place = one.js("at")
    one.press("Enter")
    one.wait(f"at > {place}")
    return {image: given}


def saved(one, folder):
    """The file that comes back, and the text beside it."""
    one("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)
    one.wait("!byId('end').hidden && document.activeElement.id === 'save'")
    one.press("Enter")
    one.wait("byId('file').textContent.startsWith('Saved as')")
    (file,) = one.files(folder, "answers-*.json")
    text = one.js("byId('text').value")
    assert file.read_text() == text
    return file


def as_given(content):
    return {answer["image"]: (answer["label"], answer["confidence"]) for answer in content["answers"]}


def test_no_answer_is_lost_by_a_reload_a_kill_or_another_person(page, started, tmp_path):
    file, key = page()
    one, told = started(), {}
    one.open(file.as_uri(), READY)
    one.press("Enter")  # the button that starts has the focus
    one.wait("!byId('task').hidden")
    name, order = one.js("participant"), one.js("order")
    assert sorted(order) == sorted(key["images"])
    told |= label(one, (7, 4), "7", "4")
    told |= label(one, (2, 5), "9", "Backspace", "2", "1", "5")  # 9 was a mistake, and so was 1
    image = one.js(SEEN)
    one.press("3")  # no confidence yet
    one.reload(f"{READY} && !byId('task').hidden")
    assert one.js("participant") == name and one.js(SEEN) == image and one.js("order") == order
    assert one.js("document.querySelector('[data-label][aria-pressed=true]').dataset.label") == "3"
    one.press("Enter", "1")
    told[image] = (3, 1)
    one.press("Enter")
    told |= label(one, (None, None), "?")
    image, told[image] = one.js(SEEN), (0, 2)
    one.press("0", "2")
    one.wait(f"answers.get({image!r})?.confidence === 2 && {KEPT}")
    one.kill()  # nothing in memory reaches the disk

    one = started()
    one.open(file.as_uri(), READY)
    assert "5 of 6 answered" in one.js("document.activeElement.textContent")
    one.press("Enter")  # goes on as the one who is known
    one.wait("!byId('task').hidden")
    assert one.js("participant") == name and one.js("order") == order
    told |= label(one, (1, 3), "1", "3")
    answers = saved(one, tmp_path / "first")
    content = json.loads(answers.read_text())
    assert content["participant"] == name and content["study"] == key["study"] and as_given(content) == told
    assert study.read_answers([answers], key) == [content]

    one.js("byId('other').click()")
    one.wait("!byId('start').hidden")
    one.js("byId('fresh').click()")
    one.wait("!byId('task').hidden")
    other = one.js("participant")
    assert other != name and one.js("finished()") == 0
    second = label(one, (5, 5), "5", "5")
    one.press("s")
    both = [answers, saved(one, tmp_path / "second")]
    people = study.read_answers(both, key)
    assert [as_given(person) for person in people] == [told, second]
    one.js(f"location.hash = {name!r}")
    one.reload(READY)  # the first one's answers are still there
    one.wait("!byId('end').hidden")
    assert as_given(json.loads(one.js("byId('text').value"))) == told


@pytest.mark.slow
def test_each_of_many_kills_keeps_what_was_kept(page, started):
    """The moment that is said to be kept is on the disk: a kill follows each answer."""
    file, key = page()
    told = {}
    for n in range(len(key["images"])):
        one = started()
        one.open(file.as_uri(), READY)
        one.press("Enter")
        one.wait("!byId('task').hidden")
        image = one.js(SEEN)
        assert image not in told and one.js("finished()") == n
        one.press(str(n), "5")
        told[image] = (n, 5)
        one.wait(f"answers.get({image!r})?.confidence === 5 && {KEPT}")
        one.kill()
    one = started()
    one.open(file.as_uri(), READY)
    one.press("Enter")
    one.wait("!byId('end').hidden && byId('text').value")
    assert as_given(json.loads(one.js("byId('text').value"))) == told


def test_without_storage_it_says_so_and_with_many_classes_numbers_are_typed(page, started, tmp_path):
    classes = [f"class <{n}>" for n in range(100)]
    file, key = page(classes)
    one = started()
    address = "data:text/html;base64," + base64.b64encode(file.read_bytes()).decode()
    one.open(address, READY)  # has no storage of its own
    assert "keeps nothing" in one.js("byId('storage').innerText")
    one.press("Enter")
    told = label(one, (42, 3), "4", "2", "3")
    told |= label(one, (7, 1), "7", "Enter", "1")
    told |= label(one, (15, 2), "9", "Backspace", "1", "5", "2")
    one.press("Enter")
    assert "first" in one.js("byId('said').textContent")  # nothing is skipped by chance
    one.press("u", "s")
    content = json.loads(saved(one, tmp_path / "files").read_text())
    given = as_given(content)
    assert given.pop(content["answers"][3]["image"]) == (None, None) and given == told
    assert study.read_answers(list((tmp_path / "files").iterdir()), key)


FULL = """kept.put = IDBObjectStore.prototype.put; kept.set = Storage.prototype.setItem;
IDBObjectStore.prototype.put = Storage.prototype.setItem = () => { throw new Error("full"); }"""
FREE = "IDBObjectStore.prototype.put = kept.put; Storage.prototype.setItem = kept.set"


def test_an_answer_that_could_not_be_kept_is_told_of_until_it_is_kept_with_a_later_one(page, started):
    file, _ = page()
    one = started()
    one.open(file.as_uri(), READY)
    one.press("Enter")
    one.js(f"{{ {FULL} }}")
    told = label(one, (3, 5), "3", "5")
    assert "could not be kept" in one.js("byId('storage').innerText")
    one.js(f"{{ {FREE} }}")
    told |= label(one, (7, 1), "7", "1")
    one.wait("byId('storage').hidden && kept.lost.size === 0")
    one.reload(READY)
    one.wait("finished() === 2")
    again = json.loads(one.js("JSON.stringify([...answers.values()])"))
    assert {answer["image"]: (answer["label"], answer["confidence"]) for answer in again} == told


def test_a_phone_has_large_buttons_and_fits_320_pixels(page, started):
    file, _ = page()
    one = started(width=320, height=568)
    one("Emulation.setDeviceMetricsOverride", width=320, height=568, deviceScaleFactor=2, mobile=True)
    one("Emulation.setTouchEmulationEnabled", enabled=True)
    one.open(file.as_uri(), READY)
    one.tap("#fresh")
    one.wait("!byId('task').hidden")
    image = one.js(SEEN)
    one.tap("[data-label='6']")
    one.tap("[data-confidence='2']")
    one.tap("#next")
    one.wait("at === 1")
    assert one.js(f"answers.get({image!r}).label") == 6 and one.js(f"answers.get({image!r}).confidence") == 2
    assert one.js("document.documentElement.scrollWidth") == 320
    least = (
        "Math.min(...[...document.querySelectorAll('#task button')].map(b => b.getBoundingClientRect().%s))"
    )
    assert one.js(least % "height") >= 44 and one.js(least % "width") >= 44
    assert one.js("byId('next').getBoundingClientRect().bottom") <= 568  # in sight without scrolling
