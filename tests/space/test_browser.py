"""The page that certifies in the browser says what the server says, from the same file."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from tests.files import FILES
from tests.space.conftest import ROOT, SAMPLES
from tests.space.test_app import COLOUR, GREY, HOSTILE, expect, png, violations
from zoo.errors import InputError
from zoo.figures import radius_text
from zoo.inference.images import as_batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "space" / "static" / "ort").is_dir(), reason="needs ONNX Runtime Web: make static, which needs npm"
    ),
]


@pytest.fixture
def page(visit: Any) -> Any:
    return visit("browser/", width=900).page


def certify(page: Any, name: str, content: bytes) -> tuple[str, float]:
    expect(page.locator("#caption")).not_to_be_empty()
    expect(page.locator("#state")).not_to_contain_text("Loading")  # or an earlier answer comes in between
    page.locator("zoo-verdict").evaluate_all("elements => elements.map((element) => element.remove())")
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
    verdict = page.locator("zoo-verdict")
    expect(verdict).to_have_count(1)
    return verdict.get_attribute("data-label"), float(verdict.get_attribute("data-radius"))


def larger(seed: int) -> bytes:
    """A smooth picture that is larger than the model's, of other proportions, sharpened by noise."""
    generator = np.random.default_rng(seed)
    low = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((233, 141))
    noise = generator.integers(-9, 10, (141, 233, 3))
    return png(Image.fromarray(np.clip(np.asarray(low, dtype=int) + noise, 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("model", [COLOUR, GREY])
def test_the_radius_is_the_servers(page: Any, model: str):
    """All committed pictures, of exactly the model's size and not, and larger ones: cropped and resized alike."""
    page.select_option("#model", model)
    expect(page.locator("#caption")).to_contain_text("28 x 28" if model == GREY else "32 x 32")
    files = [(path.name, path.read_bytes()) for path in sorted(Path(SAMPLES).glob("*.png"))]
    for name, content in [*files, *((f"larger-{seed}.png", larger(seed)) for seed in range(3))]:
        label, radius = certify(page, name, content)
        prediction = zoo.load(model).predict(content)
        assert label == prediction.name, name
        assert abs(radius - prediction.radius) <= 1e-6, name


def test_every_file_gives_the_servers_pixels_or_is_refused_by_both(page: Any):
    """To the bit, lossy kinds too, in the browser that runs here."""
    script = """async ([files, shape]) => {
        const { tensorOf } = await import("./picture.js");
        const answers = {};
        for (const [name, base64] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
            answers[name] = await tensorOf(new File([bytes], name), shape).then(Array.from, (error) => error.message);
        }
        return answers;
    }"""
    shape = zoo.load(COLOUR).input_shape
    answers = page.evaluate(script, [{name: b64encode(content).decode() for name, content in FILES.items()}, shape])
    for name, content in FILES.items():
        try:
            expected = as_batch(content, shape)[0].ravel()
        except InputError as error:
            expected = str(error)
        answer = answers[name]
        assert isinstance(answer, str) == isinstance(expected, str), f"{name}: {str(answer)[:80]}, {str(expected)[:80]}"
        if isinstance(answer, str):
            assert answer.startswith(f"{name}: ")
        else:
            np.testing.assert_array_equal(np.float32(answer), expected, name)


def test_a_jpeg_is_certified_too(page: Any):
    file = BytesIO()
    Image.open(BytesIO(larger(0))).save(file, format="JPEG", quality=95)
    assert certify(page, "larger.jpg", file.getvalue())[1] >= 0


def test_epsilon_flips_the_verdict(page: Any, screenshot: Any):
    badge = page.locator("zoo-verdict .badge")
    expect(badge).to_contain_text("CERTIFIED")
    screenshot(page, "browser")
    page.locator("#epsilon").focus()
    page.keyboard.press("End")
    expect(badge).to_contain_text("ABSTAIN")
    page.keyboard.press("Home")
    expect(badge).to_contain_text("CERTIFIED")


def test_an_example_brings_its_model_and_an_answer_says_what_it_is_worth(page: Any):
    for picture, model in (("digit-3", GREY), ("goldfish", "liresnet-l4w32-tiny-imagenet"), ("ship", COLOUR)):
        page.locator(f"[data-picture={picture}]").click()
        expect(page.locator("#model")).to_have_value(model)
        expect(page.locator("zoo-verdict .label")).to_have_text(picture.removeprefix("digit-"))
        rate = f"{100 * zoo.load(model).evaluation.clean_accuracy:.2f} % of its test pictures"
        expect(page.locator("zoo-verdict .rate")).to_contain_text(rate)
        assert page.locator("zoo-distances li").count() == 9


def test_every_small_model_is_offered(page: Any):
    from space import answers

    offered = page.locator("#model option").evaluate_all("options => options.map((option) => option.value)")
    assert set(offered) == {row["name"] for row in answers.in_browser()}
    assert len(offered) > 25
    page.select_option("#model", "linfdist-5x256-mnist")  # an l-infinity model, and its own epsilon and example
    expect(page.locator("zoo-verdict .label")).to_have_text("0")
    expect(page.locator("#size")).to_have_text("0.3")
    radius = float(page.locator("zoo-verdict").get_attribute("data-radius"))
    assert abs(radius - zoo.load("linfdist-5x256-mnist").predict(SAMPLES / "digit-0.png").radius) <= 1e-6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_answer_comes_first_here_too(visit: Any, scheme: str):
    page = visit("browser/", width=375, height=667, scheme=scheme).page
    for part in (".label", ".badge", ".rate", ".sentence"):
        box = page.locator(f"#verdict {part}").bounding_box()
        assert box["y"] + box["height"] <= 667, part
    assert violations(page) == []


def test_nothing_is_sent(visit: Any):
    seen = visit("browser/", width=375, scheme="dark")
    before = len(seen.requests)
    certify(seen.page, "ship.png", (SAMPLES / "ship.png").read_bytes())
    assert [url for url in seen.requests[before:] if not url.startswith("blob:")] == []
    assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_hostile_files_are_refused_in_words(page: Any):
    for name, content, message in HOSTILE.values():
        page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": content()})
        expect(page.locator("#problem")).to_contain_text(message)
    assert certify(page, "ship.png", (SAMPLES / "ship.png").read_bytes())[0] == "ship"


def test_no_number_is_more_than_the_radius(page: Any):
    """Decimals are cut off, those of 0.3 too, which is less than three tenths in binary."""
    script = """(radius) => {
        const verdict = document.createElement("zoo-verdict");
        const model = {labels: "[]", accuracy: 1, norm: "l2", shape: "3,32,32"};
        Object.assign(verdict.dataset, {...model, label: "a", radius, epsilon: 0.1, limit: 1});
        document.body.append(verdict);
        const facts = [...verdict.querySelectorAll("dd")].map((fact) => fact.textContent);
        verdict.remove();
        return facts;
    }"""
    for radius in (0.0, 5e-324, 0.1, 0.2, 0.3, 0.7, 1.0, 2.675, 0.99999999999999989, 1234.5678, 12345.6789):
        assert page.evaluate(script, repr(radius))[0] == radius_text(radius)
    below = 1.7320508075688772  # the square root of 3, rounded down
    assert page.evaluate(script, repr(below))[2] == "up to 254 of 255"
    assert page.evaluate(script, repr(np.nextafter(below, 2).item() + 1e-9))[2] == "anything at all"
