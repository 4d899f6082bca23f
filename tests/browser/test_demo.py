"""The page of `mnist-course demo` in Chromium: the same answers as in Python, by mouse, touch and keyboard."""

from __future__ import annotations

import base64
import statistics

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_course import demo
from mnist_helpers import _course, _files, data, results

pytest.importorskip("playwright", reason="no Playwright here: pip install --editable '.[browser]'")
from playwright.sync_api import expect

from tests.browser.conftest import PICTURES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own
]
MADE_UP = "made up"
# The committed networks are compared, too, as soon as the reference has them.
NETWORKS = [MADE_UP, *(["reference"] if demo.has_models() else [])]
READY = "networks.every((network) => network.ready)"
# Images in base64 -> 784 numbers for each; all of them are handed over at once.
SPLIT = """
const bytes = bytesOf(encoded), images = [];
for (let i = 0; i < bytes.length; i += 784) { images.push(bytes.slice(i, i + 784)); }
"""


def trained(images, labels, *, noise=0.0, normalised=False, bias=True):
    """A small network of the kinds of layers that the lessons use."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((28, 28)), layers.Rescaling(1 / 255), layers.Flatten()])
    model.add(layers.GaussianNoise(noise))
    for units in (48, 24):
        model.add(layers.Dense(units, use_bias=bias, activation=None if normalised else "relu"))
        if normalised:
            model.add(layers.BatchNormalization(momentum=0.9))
            model.add(layers.Activation("relu"))
        model.add(layers.Dropout(0.1))
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=5, verbose=0)
    return model


@pytest.fixture(scope="module")
def digits():
    (images, labels), _ = data.load_training("digits", num_train=1300, num_validation=130, seed=1)
    return images, labels


@pytest.fixture(scope="module")
def made_up(digits, tmp_path_factory):
    """A folder of reference results with three networks."""
    reference = tmp_path_factory.mktemp("reference")
    (reference / "models").mkdir()
    networks = {
        "baseline": trained(*digits),
        "batchnorm_dropout": trained(*digits, normalised=True),
        "strong": trained(*digits, noise=0.3, normalised=True, bias=False),
    }
    saved = {
        name: results.save_compact_model(reference / "models", name, model)
        for name, model in networks.items()
    }
    _files.write_json(reference / "models" / "index.json", saved)
    return reference


@pytest.fixture(scope="module", params=NETWORKS)
def reference(request):
    """The folders whose networks are compared with Keras."""
    return request.getfixturevalue("made_up") if request.param == MADE_UP else _course.REFERENCE


def written(reference, path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_course, "REFERENCE", reference)
        demo.write(path)
    return path


@pytest.fixture(scope="module")
def path(made_up, tmp_path_factory):
    return written(made_up, tmp_path_factory.mktemp("page") / "a draw.html")


@pytest.fixture
def visit(browser):
    """`visit(path, **options)`: opens the page in a window of its own; no error and no request may come from it."""
    pages, errors, requests = [], [], []

    def open_page(path, **options):
        page = browser.new_page(**options)
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function(READY)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []
    assert requests == [page_url for page_url in requests if page_url.startswith("file:")]
    assert len(requests) == len(pages)


@pytest.fixture
def page(visit, path):
    return visit(path)


def encoded(images):
    return base64.b64encode(np.ascontiguousarray(images, np.uint8).tobytes()).decode()


def paper(page):
    return page.get_by_role("application", name="Draw a digit")


def image(page):
    """The pixels that the networks see."""
    page.evaluate("compute()")
    values = page.evaluate("image && [...image]")
    return None if values is None else np.array(values).reshape(28, 28)


def draw_seven(page):
    paper(page).hover(position={"x": 80, "y": 60})
    page.mouse.down()
    for x, y in [(140, 60), (200, 60), (160, 150), (120, 240)]:
        paper(page).hover(position={"x": x, "y": y})
    page.mouse.up()


def set_slider(page, name, value):
    page.evaluate(
        """([name, value]) => {
            element(name).value = value;
            element(name).dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, value],
    )


# --- the same as in Python ---


def drawings():
    """Strokes of all widths on papers of all sizes, some grey or faint, and ties of the centre of mass."""
    rng = np.random.default_rng(5)
    for number in range(300):
        width, height = rng.integers(20, 300, size=2)
        paper = Image.new("L", (int(width), int(height)), int(rng.choice([255, 255, 230])))
        pen = ImageDraw.Draw(paper)
        for _ in range(rng.integers(1, 4)):
            points = rng.integers(0, (width, height), size=(rng.integers(2, 6), 2))
            ink = int(rng.choice([0, 0, 90, 200]))
            pen.line([tuple(map(int, point)) for point in points], fill=ink, width=int(rng.integers(1, 30)))
        yield np.asarray(paper.resize((int(width) * 2, int(height) * 2)) if number % 3 == 0 else paper)
    for size in range(1, 40):
        for ink in (0, 100):
            drawing = np.full((60, 50), 255, np.uint8)
            drawing[10 : 10 + size, 20:25] = ink
            yield drawing


def test_a_drawing_is_prepared_as_in_python(page):
    differences, count = [], 0
    for drawing in drawings():
        if drawing.min() == drawing.max():
            continue
        height, width = drawing.shape
        prepared = page.evaluate(
            "([encoded, width, height]) => [...prepareDrawing(bytesOf(encoded), width, height)]",
            [encoded(drawing), width, height],
        )
        right = data.to_mnist_format(drawing).astype(int)
        differences.append(np.abs(np.array(prepared).reshape(28, 28) - right).max())
        count += 1
    assert count > 350
    assert max(differences) == 0


def answers_of(page, images):
    """What each network of the page answers: name -> probabilities."""
    asked = f"""(encoded) => {{ {SPLIT}
        const answers = (network) => images.map((image) => [...answer(network.layers, image).probabilities]);
        return Object.fromEntries(networks.map((network) => [network.name, answers(network)]));
    }}"""
    return {name: np.array(rows) for name, rows in page.evaluate(asked, encoded(images)).items()}


def compare_with_keras(page, reference, images, largest):
    index = _files.read_json(reference / "models" / "index.json")
    found = answers_of(page, images)
    assert found.keys() == index.keys()
    for name, probabilities in found.items():
        model = results.load_model(reference / "models", index[name])
        expected = model.predict(images, batch_size=1000, verbose=0)
        assert np.abs(probabilities - expected).max() < largest, name
        top = np.sort(expected)[:, -2:]
        clear = top[:, 1] - top[:, 0] > 2 * largest
        assert (probabilities.argmax(axis=1) == expected.argmax(axis=1))[clear].all(), name
        assert clear.mean() > 0.999


def test_the_networks_answer_as_in_keras(visit, reference, digits, tmp_path):
    page = visit(written(reference, tmp_path / "draw.html"))
    compare_with_keras(page, reference, digits[0], 1e-5)


@pytest.mark.mnist
def test_the_networks_answer_as_in_keras_on_10000_images_of_mnist(visit, reference, mnist, tmp_path):
    page = visit(written(reference, tmp_path / "draw.html"))
    compare_with_keras(page, reference, mnist["x_train"][:10_000], 1e-5)


def test_the_hidden_layer_is_that_of_keras(page, made_up, digits):
    import keras

    index = _files.read_json(made_up / "models" / "index.json")
    for name, last in (("baseline", "dense"), ("strong", "activation")):
        model = results.load_model(made_up / "models", index[name])
        layer = next(layer for layer in model.layers if layer.name.startswith(last))
        expected = keras.Model(model.inputs, layer.output).predict(digits[0][:1], verbose=0)[0]
        hidden = page.evaluate(
            f"""(encoded) => {{ {SPLIT}
                const network = networks.find(({{ name }}) => name === "{name}");
                return [...answer(network.layers, images[0]).hidden];
            }}""",
            encoded(digits[0][:1]),
        )
        np.testing.assert_allclose(hidden, expected, atol=1e-5)


def test_an_answer_comes_at_once(visit, reference, tmp_path):
    page = visit(written(reference, tmp_path / "draw.html"))
    draw_seven(page)
    timed = "() => { const start = performance.now(); compute(); return performance.now() - start; }"
    assert (
        statistics.median(page.evaluate(timed) for _ in range(15)) < 100
    )  # milliseconds, on a busy machine too


# --- drawing ---


def test_at_first_the_page_says_that_nothing_is_drawn(page):
    expect(page.locator("#verdict")).to_contain_text("Nothing is drawn yet.")
    expect(page.locator("#inside-text")).to_have_text("Draw a digit first.")
    assert page.locator(".percent").all_inner_texts() == ["–"] * 30
    assert page.locator(".best").count() == page.locator("#neurons li").count() == 0
    assert image(page) is None


def test_a_digit_drawn_with_the_mouse_is_read(page):
    draw_seven(page)
    expect(page.locator("#verdict")).to_contain_text("answer")
    drawing = np.array(page.evaluate("[...pad.grey()]"), np.uint8).reshape(280, 280)
    assert drawing.min() == 0
    assert (image(page) == data.to_mnist_format(drawing)).all()
    for network in page.locator(".network").all():
        cells = network.locator(".percent").all_inner_texts()
        values = [float(cell.split()[-2]) if "er " in cell else float(cell.split()[0]) for cell in cells]
        assert sum(values) == pytest.approx(100, abs=1.1)
        best = network.locator(".best")
        assert best.count() == 1
        assert best.locator("th").inner_text() == str(int(np.argmax(values)))
        track, bar = (best.locator(part).bounding_box()["width"] for part in (".track", ".bar"))
        assert bar / track == pytest.approx(max(values) / 100, abs=0.02)
    expect(page.locator("#neurons li")).to_have_count(12)
    expect(page.locator("#inside-text")).to_contain_text("of the 48 neurons")
    page.screenshot(path=PICTURES / "draw.png", full_page=True)


def test_a_digit_drawn_with_the_keyboard_is_read(page):
    paper(page).focus()
    for key in ["ArrowUp"] * 9 + [" "] + ["ArrowDown"] * 18 + [" "]:
        page.keyboard.press(key)
    expect(page.locator("#pad [role=status]")).to_have_text("The networks have answered.")
    expect(page.locator("#verdict")).to_contain_text("answer")
    seen = image(page)
    assert seen.any(axis=1).sum() == 20
    assert seen.any(axis=0).sum() <= 4
    expect(page.locator(".mnist-canvas-pen")).to_be_visible()
    page.keyboard.press("Delete")
    expect(page.locator("#verdict")).to_contain_text("Nothing is drawn yet.")


def test_a_digit_drawn_with_a_finger_is_read(visit, path):
    page = visit(path, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    paper(page).scroll_into_view_if_needed()
    box = paper(page).bounding_box()
    session = page.context.new_cdp_session(page)
    for number, y in enumerate(range(40, 240, 20)):
        point = {"x": box["x"] + 140, "y": box["y"] + y}
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#verdict")).to_contain_text("answer")
    (stroke,) = page.evaluate("pad.strokes")
    assert [round(y) for _, y in stroke] == list(range(40, 240, 20))  # the page did not scroll instead


def test_clear_resets_the_sliders_and_the_example(page):
    page.get_by_role("button", name="The 7, moved").click()
    assert page.locator("#right").input_value() == "6"
    expect(page.locator("#example-text")).not_to_be_empty()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#verdict")).to_have_text(
        "Nothing is drawn yet. Draw a digit, or choose one of the drawings below."
    )
    expect(page.locator("#example-text")).to_be_empty()
    assert [slider.input_value() for slider in page.locator("input").all()] == ["0", "0", "0", "1"]
    assert page.locator("[aria-pressed=true]").count() == 0
    draw_seven(page)
    expect(page.locator("#verdict")).to_contain_text("answer")
    expect(page.locator("#verdict")).not_to_contain_text("moved")


# --- the sliders and the examples ---


def test_the_sliders_change_what_the_networks_see_and_the_page_says_so(page):
    draw_seven(page)
    before = image(page)
    set_slider(page, "right", 3)
    set_slider(page, "down", -2)
    expect(page.locator("#verdict")).to_contain_text(
        "The image was moved by 3 pixels to the right and 2 pixels up."
    )
    assert (image(page) == np.roll(before, (-2, 3), axis=(0, 1))).all()
    expect(page.locator("#right-value")).to_have_text("3 pixels")
    page.get_by_role("button", name="Undo these changes").click()
    expect(page.locator("#verdict")).not_to_contain_text("moved")
    assert (image(page) == before).all()
    set_slider(page, "turn", 180)
    expect(page.locator("#verdict")).to_contain_text("The drawing was rotated by 180° clockwise.")
    assert np.abs(image(page)[::-1, ::-1].astype(int) - before)[1:, 1:].mean() < 30
    set_slider(page, "turn", 90)
    # A quarter clockwise: the upper edge becomes the right one. Even numbers of pixels can move the centre by one.
    assert (
        min(
            np.abs(np.roll(np.rot90(before, -1), shift, (0, 1)) - image(page)).mean()
            for shift in np.ndindex(3, 3)
            for shift in [np.array(shift) - 1]
        )
        < 5
    )
    set_slider(page, "turn", 0)
    set_slider(page, "width", 2)
    expect(page.locator("#verdict")).to_contain_text("The pen is 2 times as wide as in your drawing.")
    assert image(page).sum() > 1.4 * before.sum()
    set_slider(page, "width", 0.5)
    assert image(page).sum() < 0.8 * before.sum()


def test_ink_that_leaves_the_image_is_mentioned(page):
    draw_seven(page)
    set_slider(page, "down", 8)
    expect(page.locator("#verdict")).to_contain_text("and part of the ink has left the image.")
    set_slider(page, "down", 1)
    expect(page.locator("#verdict")).to_contain_text("The image was moved by 1 pixel down.")


def test_every_example_is_drawn_and_explained(page):
    seen = set()
    for button in page.locator("#examples button").all():
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator("[aria-pressed=true]")).to_have_count(1)
        expect(page.locator("#pad [role=status]")).to_have_text(f"The drawing is: {button.inner_text()}.")
        expect(page.locator("#example-text")).to_contain_text(" ")
        seen.add(image(page).tobytes())
    assert len(seen) == page.locator("#examples button").count()
    draw_seven(page)  # on top of it: it is not the example any more
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)


def test_the_examples_mislead_the_committed_networks(visit, tmp_path):
    for reference in [_course.REFERENCE] if demo.has_models() else []:
        page = visit(written(reference, tmp_path / "draw.html"))
        wrong = {}
        for button in page.locator("#examples button").all():
            button.click()
            page.evaluate("compute()")
            wrong[button.inner_text()] = page.evaluate(
                "networks.filter(({ digit }) => digit !== (example.digit ?? digit)).length"
            )
        assert wrong["A 7"] == 0
        assert sum(count > 0 for count in wrong.values()) >= 3, wrong


@pytest.mark.parametrize(
    ("digits_said", "confidences", "expected"),
    [
        ([7, 7, 7], [0.5, 0.99999, 0.9],
         ["All three networks answer 7, with confidences from 50.0 % to over 99.9 %.",
         "If this is not the digit that you see, all of them are wrong, although they agree."]),
        ([7, 7, 7], [0.9, 0.9, 0.9], ["All three networks answer 7, with a confidence of 90.0 %."]),
        ([2, 7, 7], [0.9, 0.8, 0.7], ["The networks disagree.",
         "“Batch normalisation and dropout” and “Strong” answer 7, with confidences from 70.0 % to 80.0 %.",
         "“Baseline” answers 2, with a confidence of 90.0 %.",
         "At most one of these answers can be correct. The confidences do not show which."]),
    ],
)  # fmt: skip
def test_agreement_and_disagreement_are_said_in_words(page, digits_said, confidences, expected):
    draw_seven(page)
    assert said(page, digits_said, confidences)[: len(expected)] == expected


def said(page, digits_said, confidences=(0.9, 0.9, 0.9)):
    """The sentences of the page if the networks answered these digits."""
    page.evaluate("compute()")
    lines = page.evaluate(
        """([digits, confidences]) => {
            networks.forEach((network, i) => {
                [network.digit, network.confidence] = [digits[i], confidences[i]];
            });
            return verdict();
        }""",
        [digits_said, list(confidences)],
    )
    return [line.replace("\u00a0", " ") for line in lines]


@pytest.mark.parametrize(
    ("example", "digits_said", "sentence"),
    [
        ("A 7", [7, 7, 7], "The drawing is meant as a 7: all answers are correct."),
        ("A 7", [1, 1, 2], "The drawing is meant as a 7: all answers are wrong."),
        ("A 7", [7, 1, 7], "The drawing is meant as a 7, so “Batch normalisation and dropout” is wrong."),
        ("The 7, moved", [1, 7, 2], "The drawing is meant as a 7, so “Baseline” and “Strong” are wrong."),
        ("A thick 8", [0, 0, 8],
         "The drawing is meant as an 8, so “Baseline” and “Batch normalisation and dropout” are wrong."),
        ("A star", [4, 4, 4], "The drawing is not a single digit, so every answer is wrong."),
        ("A 6, upside down", [9, 6, 6],
         "At most one of these answers can be correct. The confidences do not show which."),
    ],
)  # fmt: skip
def test_for_an_example_the_page_says_which_answers_are_wrong(page, example, digits_said, sentence):
    page.get_by_role("button", name=example, exact=True).click()
    assert sentence in said(page, digits_said)
    draw_seven(page)
    assert sentence not in said(page, digits_said) or example == "A 6, upside down"


# --- for everybody ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(path, violations, scheme):
    def show_all(page):
        page.get_by_role("button", name="The 7, moved").click()
        expect(page.locator("#neurons li")).to_have_count(12)

    assert violations(path, scheme, show_all) == []


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_page_is_as_wide_as_the_window(visit, path, width):
    page = visit(path, viewport={"width": width, "height": 800})
    page.get_by_role("button", name="A face").click()
    expect(page.locator("#neurons li")).to_have_count(12)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert paper(page).bounding_box()["width"] <= width - 32


def test_one_can_draw_before_the_networks_are_there(page):
    page.evaluate("networks.forEach((network) => { network.ready = false; })")
    draw_seven(page)
    expect(page.locator("#verdict")).to_have_text("The networks are being loaded.")
    expect(page.locator("#pad").get_by_role("status")).to_have_text("Drawn.")
    assert image(page).any()
    page.close()


def test_a_page_in_the_background_says_nothing_that_it_has_not_computed(page):
    """Such a page gets no pictures of the screen; when it is seen again, the words belong to the drawing."""
    expect(page.locator("#verdict")).to_contain_text("Nothing is drawn yet.")
    page.evaluate("() => { globalThis.waiting = []; requestAnimationFrame = (show) => waiting.push(show); }")
    draw_seven(page)
    page.wait_for_timeout(600)
    assert "Nothing is drawn yet." in page.locator("#verdict").text_content()
    page.evaluate("waiting.forEach((show) => show())")
    expect(page.locator("#verdict")).to_contain_text("answer")
    assert "NaN" not in page.locator("#verdict").text_content()
    page.close()
