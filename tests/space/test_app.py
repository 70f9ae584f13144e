"""The app in a real browser: what a visitor does, and what a hostile one tries."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from tests.space.conftest import SAMPLES, App
from zoo.figures import radius_text
from zoo.registry import ENTRIES

pytestmark = pytest.mark.slow

COLOUR, GREY = "liresnet-l4w32-cifar10-jpeg75", "2c2f-mnist"


def expect(target: Any) -> Any:
    from playwright.sync_api import expect as retrying

    return retrying(target)


def upload(page: Any, name: str, content: bytes) -> None:
    """Puts a file in the place of the picture, whatever is there."""
    field = page.locator("#picture input[type=file]").first
    field.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def choose(page: Any, dropdown: str, text: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=re.compile(re.escape(text))).first.click()


def set_epsilon(page: Any, value: str) -> None:
    field = page.locator("#epsilon input[type=number]")
    field.fill(value)
    field.press("Tab")


def png(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, **{"format": "PNG", **options})
    return file.getvalue()


def test_an_upload_is_answered_as_the_model_answers(visit: Any, screenshot: Any):
    page = visit().page
    expect(page.locator("#verdict .label")).to_have_text("airplane")
    screenshot(page, "certify")
    upload(page, "ship.png", (SAMPLES / "ship.png").read_bytes())
    expect(page.locator("#verdict .label")).to_have_text("ship")
    prediction = zoo.load(COLOUR).predict(SAMPLES / "ship.png")
    assert float(page.locator("zoo-verdict").get_attribute("data-radius")) == prediction.radius
    expect(page.locator("#verdict figcaption")).to_contain_text("32 x 32 pixels, RGB")
    for name, index in zip(zoo.load(COLOUR).labels, range(10), strict=True):  # how far is each other class?
        row = page.locator("zoo-distances li").filter(has=page.get_by_text(name, exact=True))
        if name == "ship":
            expect(row).to_have_count(0)
        else:
            expect(row.locator(".number")).to_have_text(radius_text(prediction.class_radii[index]))
    page.get_by_label("Remove Image").click()
    expect(page.locator("#verdict [role=alert]")).to_contain_text("no picture yet")


def test_another_model_answers_for_the_same_picture(visit: Any):
    page = visit().page
    upload(page, "3.png", (SAMPLES / "digit-3.png").read_bytes())
    expect(page.locator("#verdict .label")).not_to_have_text("airplane")
    choose(page, "#model", GREY)
    expect(page.locator("#verdict figcaption")).to_contain_text("28 x 28 pixels, grey")
    expect(page.locator("#verdict .label")).to_have_text("3")
    expect(page.locator("#epsilon input[type=number]")).to_have_value("0.3")


def test_an_example_brings_a_model_that_suits_it(visit: Any):
    page = visit().page
    for example, label, model, epsilon in (
        ("digit 3", "3", GREY, "0.3"),
        ("goldfish", "goldfish", "liresnet-l4w32-tiny-imagenet", "0.141"),
        ("ship", "ship", COLOUR, "0.141"),
    ):
        page.get_by_role("button", name=example).click()
        expect(page.locator("#model input")).to_have_value(model)
        expect(page.locator("#verdict .label")).to_have_text(label)
        expect(page.locator("#epsilon input[type=number]")).to_have_value(epsilon)


def test_what_a_wrong_answer_is_worth_stands_beside_it(visit: Any):
    page = visit().page
    upload(page, "3.png", (SAMPLES / "digit-3.png").read_bytes())  # not what the model knows
    expect(page.locator("#verdict .label")).not_to_have_text("airplane")
    model = zoo.load(COLOUR)
    rate = f"right for {100 * model.evaluation.clean_accuracy:.2f} % of its test pictures"
    expect(page.locator("#verdict .head .rate")).to_have_text(rate)
    knows = f"This model knows ten things: {', '.join(model.labels)}. Whatever it is shown, it names one of them."
    expect(page.locator("#verdict .worth")).to_have_text(knows)


def test_a_link_restores_picture_model_and_epsilon(visit: Any, app: App):
    page = visit().page
    upload(page, "other.png", png(noise("RGB", (90, 70))))
    expect(page.locator("#verdict .label")).not_to_have_text("airplane")
    verdict = page.locator("zoo-verdict")
    before = verdict.get_attribute("data-radius")
    choose(page, "#model", "6c2f-cll-cifar10-jpeg75")
    expect(verdict).not_to_have_attribute("data-radius", before)  # the model has answered, and set its own epsilon
    page.wait_for_load_state("networkidle")
    set_epsilon(page, "0.05")
    radius = page.locator("zoo-verdict").get_attribute("data-radius")
    page.locator("#share").click()
    field = page.locator("#link textarea, #link input")
    expect(field).to_have_value(re.compile("#model="))
    assert field.input_value() == page.evaluate("window.location.href")
    restored = visit(field.input_value().removeprefix(app.url)).page
    expect(restored.locator("#model input")).to_have_value("6c2f-cll-cifar10-jpeg75")
    expect(restored.locator("zoo-verdict")).to_have_attribute("data-radius", radius)  # to the bit
    expect(restored.locator("#epsilon input[type=number]")).to_have_value("0.05")
    broken = visit("#model=2c2f-mnist&epsilon=0.3&picture=bm8=").page
    expect(broken.get_by_text("the link cannot be followed")).to_be_visible()
    expect(broken.locator("#verdict .label")).to_have_text("airplane")


def test_epsilon_flips_the_verdict_without_asking_the_server(visit: Any, screenshot: Any):
    seen = visit()
    page, badge = seen.page, seen.page.locator("#verdict .badge")
    expect(badge).to_contain_text("CERTIFIED")
    radius = float(page.locator("zoo-verdict").get_attribute("data-radius"))
    page.wait_for_load_state("networkidle")
    before = len(seen.requests)
    set_epsilon(page, f"{radius + 0.001:.3f}")
    expect(badge).to_contain_text("ABSTAIN")
    screenshot(page, "abstain")
    set_epsilon(page, f"{radius - 0.001:.3f}")
    expect(badge).to_contain_text("CERTIFIED")
    asked = [url for url in seen.requests[before:] if "/queue/data" not in url]  # that brings what was asked before
    assert asked == []
    page.evaluate("radius => window.setEpsilon(radius)", radius)
    expect(badge).to_contain_text("ABSTAIN")  # strict: equal is not certified


def test_an_attack_inside_the_radius_fails_and_outside_it_may_not(visit: Any, screenshot: Any):
    pytest.importorskip("torch")
    page = visit().page
    page.get_by_role("tab", name="Attack").click()
    strength = page.locator("#strength input[type=number]")
    strength.fill("0.6")
    strength.press("Tab")
    page.locator("#run").click()
    expect(page.locator(".outcome")).to_contain_text("inside the certified radius 0.6277: still airplane, as proved")
    expect(page.locator("#outcome figure")).to_have_count(3)
    sizes = page.locator("#outcome img").evaluate_all("images => images.map((image) => [image.width, image.height])")
    assert sizes[0] == sizes[1] == sizes[2]
    axes, legend = (page.locator(f"#path {part}").first.bounding_box() for part in ("#patch_2", "#legend_1"))
    assert legend["y"] + legend["height"] <= axes["y"] + 1  # above the axes, where no line is
    strength.fill("3.2")
    strength.press("Tab")
    page.locator("#run").click()
    expect(page.locator(".outcome")).to_contain_text("outside the certified radius 0.6277: now ")
    expect(page.locator("#path")).to_contain_text("size of the perturbation (l2 norm, pixels in [0, 1])")
    screenshot(page, "attack")


def test_a_photograph_is_certified(visit: Any):
    page = visit().page
    page.get_by_label("Remove Image").click()
    expect(page.locator("#verdict .label")).to_have_count(0)
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#picture video')?.videoWidth > 0")  # nothing to capture before
    page.get_by_label("capture photo").click()
    expect(page.locator("#verdict .label")).to_have_text("frog")  # Chromium's camera shows green


def test_two_models_are_compared_on_one_picture(visit: Any, screenshot: Any):
    page = visit().page
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#compared figure")).to_have_count(2)
    captions = page.locator("#compared figcaption").all_inner_texts()
    assert len({caption.split(":")[0] for caption in captions}) == 2
    expect(page.locator("#curves")).to_contain_text("certified accuracy on the test split (%)")
    screenshot(page, "compare")


def best(dataset: str, norm: str, epsilon: str) -> str:
    like = [entry for entry in ENTRIES.values() if (entry.dataset, entry.norm) == (dataset, norm) and entry.vra]
    return max(like, key=lambda entry: entry.vra[epsilon]).name


def test_the_zoo_filters_and_a_click_shows_details(visit: Any, app: App, screenshot: Any):
    page = visit().page
    page.get_by_role("tab", name="The zoo").click()
    cells = page.locator("#board").get_by_role("gridcell")
    expect(cells.first).to_contain_text(best("cifar10-jpeg75", "l2", "36/255"))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    screenshot(page, "zoo")
    page.locator("#size").get_by_label("1.0").check()
    expect(cells.first).to_contain_text(best("cifar10-jpeg75", "l2", "1.0"))
    choose(page, "#dataset", "MNIST")
    expect(cells.first).to_contain_text(best("mnist", "l2", "0.3"))
    expect(page.locator("#links")).to_contain_text(best("mnist", "l2", "0.3"))  # and no card of another data set
    page.locator("#norm").get_by_label("linf").check()
    expect(cells.first).to_contain_text(best("mnist", "linf", "0.3"))
    cells.first.click()
    expect(page.locator("#links")).to_contain_text(best("mnist", "linf", "0.3"))
    assert all(float(tick) <= 100 for tick in page.locator("#scatter text").all_text_contents() if tick.isdigit())
    point = page.locator("#scatter").get_by_role("button", name=re.compile("^linfdist-mlp-5x256-mnist: clean 81.79 %"))
    point.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#links")).to_contain_text("linfdist-mlp-5x256-mnist")
    expect(page.locator("#card")).to_contain_text("A certified image classifier for MNIST")
    shown = page.locator("#card img")
    expect(shown).to_have_js_property("complete", True)
    assert shown.evaluate("image => image.naturalWidth") > 300  # pictures at that distance
    link = page.locator("#links").get_by_role("link", name="certificate.json")
    address = "browser/models/linfdist-mlp-5x256-mnist/certificate.json"
    expect(link).to_have_attribute("href", address)
    assert page.request.get(app.url + address).json()["name"] == "linfdist-mlp-5x256-mnist"


def test_a_choice_made_while_an_answer_is_on_its_way_counts(visit: Any):
    page = visit().page
    held: list[Any] = []
    page.get_by_role("tab", name="The zoo").click()
    cells = page.locator("#board").get_by_role("gridcell")
    expect(cells.first).to_be_visible()
    page.route("**/queue/data*", lambda route: held.append(route), times=1)
    with page.expect_request("**/queue/data*"):
        choose(page, "#dataset", "MNIST")
    for norm in ("linf", "l2", "linf"):
        page.locator("#norm").get_by_label(norm).check()
    held.pop().continue_()
    expect(cells.first).to_contain_text(best("mnist", "linf", "0.3"))
    expect(page.locator("#norm").get_by_label("linf")).to_be_checked()


def test_what_is_guaranteed_is_said(visit: Any, screenshot: Any):
    page = visit().page
    page.get_by_role("tab", name="What this guarantees").click()
    for text in ("resizing", "l2", "float64", "data set"):
        expect(page.get_by_role("tabpanel").get_by_text(re.compile(text)).last).to_be_visible()
    screenshot(page, "guarantee")


def noise(mode: str, size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    return Image.frombytes(mode, size, values.tobytes())


def huge() -> bytes:
    return png(Image.new("1", (10_000, 10_000)))


HOSTILE = {
    "a hundred megapixels": ("huge.png", huge, "10000 x 10000 pixels"),
    "a text": ("text.png", lambda: b"no picture", "text.png: not a PNG, JPEG or WebP image"),
    "an animation": (
        "moving.gif",
        lambda: png(noise("L", (8, 8)), format="GIF", save_all=True, append_images=[noise("L", (8, 9))]),
        "moving.gif: not a PNG, JPEG or WebP image",
    ),
    "four colours": ("cmyk.jpg", lambda: png(noise("CMYK", (8, 8)), format="JPEG"), "colour mode CMYK"),
    "half a picture": ("half.png", lambda: png(noise("RGB", (99, 99)))[:2000], "cannot be decoded"),
}


def test_hostile_files_are_refused_in_words_and_the_app_goes_on(visit: Any, screenshot: Any):
    page = visit(width=375, height=800).page
    for name, content, message in HOSTILE.values():
        upload(page, name, content())
        expect(page.locator("#verdict [role=alert]")).to_contain_text(message)
    screenshot(page, "hostile")
    upload(page, "one.png", png(noise("RGB", (1, 1))))  # a single pixel is a picture
    expect(page.locator("#verdict figcaption")).to_contain_text("32 x 32")
    upload(page, "ship.png", (SAMPLES / "ship.png").read_bytes())
    expect(page.locator("#verdict .label")).to_have_text("ship")


def test_two_visitors_at_once_get_their_own_answers(visit: Any):
    pages = [visit().page for _ in range(2)]
    for page, name in zip(pages, ("truck", "ship"), strict=True):
        upload(page, f"{name}.png", (SAMPLES / f"{name}.png").read_bytes())
    for page, name in zip(pages, ("truck", "ship"), strict=True):
        expect(page.locator("#verdict .label")).to_have_text(name)


def test_the_keyboard_is_enough(visit: Any):
    page = visit().page

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"the tabulator never reaches {selector}")

    tab_to("[role=tab]")
    tab_to("#epsilon input[type=range]")
    page.keyboard.press("End")
    expect(page.locator("#verdict .badge")).to_contain_text("ABSTAIN")
    page.keyboard.press("Home")
    expect(page.locator("#verdict .badge")).to_contain_text("CERTIFIED")
    tab_to("#model input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    tab_to("button.gallery-item[aria-label=ship]")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .label")).to_have_text("ship")


def violations(page: Any) -> list[str]:
    """What axe-core finds of names, roles, order and contrast; minor are empty heads of Gradio's tables.

    Colours change slowly while the page settles, so it is asked again for some seconds.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core, which [dev] brings")
    for _ in range(8):
        rules = [rule for rule in axe.Axe().run(page).response["violations"] if rule["impact"] != "minor"]
        if not rules:
            break
        page.wait_for_timeout(500)
    return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in rules]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_the_answer_comes_first_on_every_screen(visit: Any, screenshot: Any, width: int, scheme: str):
    """Without scrolling, at the height of a small telephone; and for those who see or hear the page otherwise."""
    page = visit(width=width, height=667, scheme=scheme).page
    for part in (".label", ".badge", ".rate", ".sentence"):
        box = page.locator(f"#verdict {part}").bounding_box()
        assert box["y"] + box["height"] <= 667, part
    seen = page.locator("#verdict figure img").bounding_box()
    assert seen["y"] + seen["height"] <= 667
    expect(page.locator("button.gallery-item[aria-label]").first).to_be_visible()
    assert violations(page) == []
    for tab in ("Certify", "The zoo", "What this guarantees"):
        if not page.get_by_role("tab", name=tab).first.is_visible():  # a narrow screen keeps the last tabs in a menu
            page.locator(".overflow-menu button").first.click()
        page.get_by_role("tab", name=tab).or_(page.locator(".overflow-dropdown").get_by_text(tab)).first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab
    screenshot(page, f"{width}-{scheme}")
