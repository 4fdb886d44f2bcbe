"""The first screen of every page, presenting, and the phone, in a real browser."""

import json
import re
from pathlib import Path

import harness as h
import pytest
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=120_000)  # a busy machine is no failure

LESSONS = h.PAGES[1:]
BOTTOM = "Math.max(...[...document.querySelectorAll('.live .chart canvas')].map(e => e.getBoundingClientRect().bottom))"
NOTHING_CUT = """[...document.querySelectorAll('.st-key-stage_bar :is(button, input)')].every(
    e => e.getBoundingClientRect().right <= innerWidth && (e.tagName !== 'INPUT' || e.scrollWidth <= e.clientWidth))"""
MAIN = "document.querySelector('[data-testid=stMain]')"

# Each text that is seen with less than 4.5 to 1 between its colour and what lies behind it, as WCAG counts.
PALE = """() => {
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = colour => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
    const light = colour => {
        const [r, g, b] = colour.map(v => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const pale = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
        // Nothing stands behind the value above a slider's thumb but the page, and the ends show while one drags.
        const left_out = "style, script, [aria-hidden=true], svg, [data-testid=stSlider]";
        if (!text || !element.getClientRects().length || element.closest(left_out)) continue;
        const up = [];
        for (let one = element; one; one = one.parentElement) up.push(getComputedStyle(one));
        const behind = up.reduceRight((below, { backgroundColor }) => over(rgba(backgroundColor), below), [255, 255, 255, 1]);
        const opacity = up.reduce((product, style) => product * style.opacity, 1);
        const [r, g, b, a] = rgba(up[0].color);
        const [low, high] = [light(over([r, g, b, a * opacity], behind)), light(behind)].sort((x, y) => x - y);
        if ((high + 0.05) / (low + 0.05) < 4.5) pale.push(text);
    }
    return pale;
}"""


def run(page: Page) -> None:
    page.locator(".st-key-stage_buttons button[kind=primary]").click()
    h.wait_for_stat(page, "Step", r"[1-9]")


def open_stage(page: Page, url: str) -> None:
    """Waits until the page is complete, whether it has a title or not, and its charts are drawn."""
    page.set_default_timeout(h.TIMEOUT_MS)
    page.goto(url)
    page.locator(".live .chart canvas").nth(1).wait_for()
    page.wait_for_selector(h.STANDS)


@pytest.mark.parametrize("path", LESSONS)
def test_a_lesson_opens_complete_on_one_small_screen(app: str, small_page: Page, path: str) -> None:
    page = small_page
    open_stage(page, f"{app}/{path}")
    if path != "compilation":  # it shows what has been compiled
        page.locator(".live .chart:not(.empty) canvas").first.wait_for()  # the start is drawn before Run is pressed
    run(page)
    expect(page.locator(".live .chart[aria-label^='Time per step']")).to_have_count(1)
    assert page.locator(".live .chart canvas").count() >= 3
    assert page.evaluate("innerHeight") >= page.evaluate(BOTTOM)
    assert page.evaluate(f"{MAIN}.scrollTop") == 0
    assert page.locator("code.runs").inner_text().startswith(("jax.", "jit("))


@pytest.mark.parametrize("path", h.PAGES)
def test_no_page_is_taller_than_two_screens_whatever_panel_is_open(app: str, page: Page, path: str) -> None:
    open_stage(page, f"{app}/{path}")
    names = page.locator(".st-key-panels [role=radio]").all_inner_texts()
    for name in names:
        choice = page.locator(".st-key-panels").get_by_role("radio", name=name, exact=True)
        if choice.get_attribute("aria-checked") == "false":
            choice.click()
        page.locator(".st-key-panel").wait_for()
        page.wait_for_timeout(300)
        page.wait_for_selector(h.STANDS)
        height = page.evaluate(f"{MAIN}.scrollHeight")
        assert height <= 2 * h.SCREEN["height"], f"{name}: {height} pixels"
    assert names or path == ""


@pytest.mark.parametrize("path", h.PAGES)
def test_on_a_phone_the_bar_and_the_first_chart_are_on_the_first_screen(app: str, phone: Page, path: str) -> None:
    open_stage(phone, f"{app}/{path}")
    for label in ("Batch size", "Learning rate", "Device", "Seed"):
        expect(phone.locator(".st-key-stage_bar").get_by_text(label, exact=True)).to_be_in_viewport()
    expect(phone.get_by_role("button", name="Run", exact=True)).to_be_in_viewport()
    expect(phone.locator(".live .chart").first).to_be_in_viewport(ratio=1)
    phone.wait_for_function(f"{MAIN}.scrollWidth <= {MAIN}.clientWidth")
    phone.wait_for_function(NOTHING_CUT)


CONTROLS = """() => {
    const look = element => {  // of the element and of what it stands in
        const looks = [];
        for (let one = element, i = 0; one && i < 5; one = one.parentElement, i++) {
            const { outline, boxShadow, borderColor, backgroundColor, color } = getComputedStyle(one);
            looks.push(outline, boxShadow, borderColor, backgroundColor, color);
        }
        return looks.join();
    };
    const main = document.querySelector("[data-testid=stMain]");
    window.controls = [...main.querySelectorAll("button, input, a[href], summary, [role=slider]")].filter(element =>
        element.getClientRects().length && !element.disabled && element.getAttribute("tabindex") !== "-1"
        && element.checkVisibility({ visibilityProperty: true }));
    window.looks = new Map(controls.map(element => [element, look(element)]));
    window.look = look;
    return controls.map(element => [element.role, element.ariaLabel || element.innerText || element.title]);
}"""

FOCUSED = """() => {
    const element = document.activeElement;
    const seen = element.checkVisibility({ opacityProperty: true }) && looks.get(element) !== look(element);
    return [controls.indexOf(element), seen, element === document.body];
}"""


def test_the_keyboard_reaches_every_control_in_reading_order_and_shows_where_it_is(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_vmap?jit_vmap_panel=Code")
    page.locator(".st-key-panel").wait_for()
    controls = page.evaluate(CONTROLS)
    reached = []
    for _ in range(100):
        page.keyboard.press("Tab")
        place, seen, over = page.evaluate(FOCUSED)
        if over:
            break
        if place >= 0:
            assert seen, f"{controls[place]} does not show that the keyboard is there"
            reached.append(place)
    # Of the options of a choice one is reached, and arrows lead to the others.
    missed = [name for place, (role, name) in enumerate(controls) if role != "radio" and place not in reached]
    assert not missed and reached == sorted(reached)
    names = {controls[place][1].split("\n")[-1] for place in reached}
    assert {"Run", "Pause", "Step", "Go back", "Reset", "Batch size", "Learning rate", "Device", "Seed"} <= names
    choices = page.locator(".st-key-panels [role=radio]")
    choices.first.focus()
    for place in range(1, choices.count()):
        page.keyboard.press("ArrowRight")
        expect(choices.nth(place)).to_be_focused()


def test_while_presenting_keys_run_the_lesson_and_open_panels_and_lessons(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_grad?present=1")
    assert not page.locator("h1").count() and not page.get_by_test_id("stSidebarNavLink").count()
    page.keyboard.press("Space")
    h.wait_for_stat(page, "Step", r"[1-9]")
    page.keyboard.press("Space")
    h.wait_for_stat(page, "Status", "paused")
    before = h.step_of(page)
    page.keyboard.press("s")
    h.wait_for_stat(page, "Step", f"^{before + 1}$")
    page.keyboard.press("r")
    h.wait_for_stat(page, "Step", "^0$")
    page.keyboard.press("ArrowDown")
    page.wait_for_url(re.compile("jit_grad_panel=Predict"))
    page.locator(".st-key-panel").wait_for()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".st-key-panel")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("/jit_vmap"))
    expect(page.locator("code.runs")).to_contain_text("jax.vmap(train_step")
    assert not page.get_by_test_id("stSidebarNavLink").count()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile("/jit_grad"))


def test_a_key_that_is_pressed_in_an_input_is_typed(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_grad?present=1&function=your+own")
    field = page.locator(".st-key-seed input")
    field.fill("12")
    field.press("ArrowLeft")
    field.press("3")
    assert field.input_value() == "132"
    field.press("Enter")
    page.wait_for_url(re.compile(r"/jit_grad\?.*seed=132"))
    assert h.step_of(page) == 0


def test_while_presenting_type_reads_from_the_back_row_and_nothing_is_to_be_scrolled(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_vmap?present=1")
    run(page)
    assert int(page.locator(".live").get_attribute("data-font") or 0) >= 24
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.stats .value')).fontSize)") >= 24
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('code.runs')).fontSize)") >= 24
    assert page.evaluate(f"{MAIN}.scrollHeight <= innerHeight")


def test_the_switch_begins_and_ends_presenting_and_the_run_goes_on(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_vmap")
    run(page)
    before = h.step_of(page)
    page.get_by_test_id("stSidebar").get_by_text("Present", exact=True).click()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(0)
    page.locator(".st-key-stage_bar").get_by_text("Present", exact=True).click()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(h.PAGES))
    h.wait_for_stat(page, "Status", "running")
    assert h.step_of(page) >= before


def test_in_a_frame_of_a_course_page_a_panel_is_alone(app: str, page: Page) -> None:
    page.set_content(f'<iframe src="{app}/jit_vmap?embed=true&jit_vmap_panel=Code" width="1200" height="600"></iframe>')
    inside = page.frame_locator("iframe")
    expect(inside.locator(".st-key-panel")).to_contain_text("import jax")
    expect(inside.locator(".st-key-stage")).to_be_hidden()


def test_a_lesson_opens_at_its_top(app: str, small_page: Page) -> None:
    page = small_page
    open_stage(page, f"{app}/jit_grad?jit_grad_panel=Code")
    for _ in range(3):
        page.mouse.move(1000, 600)
        page.mouse.wheel(0, 2000)
        page.wait_for_function(f"{MAIN}.scrollTop > 100")
        page.get_by_test_id("stSidebarNavLink").filter(has_text="jit(vmap(f))").click()
        expect(page.locator("h1")).to_contain_text("jit(vmap(f))")
        page.wait_for_selector(h.STANDS)
        page.wait_for_function(f"{MAIN}.scrollTop === 0")
        page.get_by_test_id("stSidebarNavLink").filter(has_text="jit(grad(f))").click()
        expect(page.locator("h1")).to_contain_text("jit(grad(f))")
        page.locator(".st-key-panel").wait_for()
        page.wait_for_selector(h.STANDS)
        page.wait_for_function(f"{MAIN}.scrollTop === 0")


def test_on_a_phone_the_sidebar_closes_when_a_lesson_is_chosen(app: str, phone: Page) -> None:
    open_stage(phone, f"{app}/jit_grad")
    phone.get_by_test_id("stExpandSidebarButton").click()
    phone.get_by_test_id("stSidebarNavLink").filter(has_text="jit(vmap(f))").click()
    expect(phone.locator("h1")).to_contain_text("jit(vmap(f))")
    expect(phone.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "true")


def test_the_bar_is_whole_at_every_width(app: str, small_page: Page) -> None:
    open_stage(small_page, f"{app}/training")  # it has the most buttons
    for width in (1250, 1100, 900, 700):
        small_page.set_viewport_size({"width": width, "height": 720})
        small_page.wait_for_function(NOTHING_CUT)


def test_shared_settings_stay_when_another_lesson_is_pressed_before_the_page_is_there(
    app: str, small_page: Page
) -> None:
    small_page.set_default_timeout(h.TIMEOUT_MS)
    small_page.goto(f"{app}/jit_grad?batch_size=64", wait_until="commit")
    small_page.get_by_label("Batch size", exact=True).wait_for()  # the rest of the page is still on its way
    small_page.get_by_test_id("stSidebarNavLink").filter(has_text="jit(vmap(f))").click()
    expect(small_page.locator("h1")).to_contain_text("jit(vmap(f))")
    expect(small_page.get_by_label("Batch size", exact=True)).to_have_value("64")


def test_the_shared_settings_are_put_back_by_one_press(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_vmap?batch_size=8&learning_rate=10&device=cpu:1&seed=5")
    expect(page.get_by_text("A learning rate of 10 is far above what suits this lesson")).to_be_visible()
    h.press(page, "More")
    h.press(page, "Defaults")
    expect(page.get_by_label("Batch size", exact=True)).to_have_value("32")
    expect(page.get_by_label("Device", exact=True)).to_have_value("cpu:0")
    expect(page.get_by_text("far above")).to_have_count(0)
    page.wait_for_function("!location.search.includes('seed') && !location.search.includes('learning_rate')")


def test_a_chart_is_saved_with_its_settings(app: str, page: Page) -> None:
    open_stage(page, f"{app}/jit_vmap?seed=5")
    run(page)
    chart = page.locator(".live .chart").nth(1)
    begins = {"PNG": b"\x89PNG", "SVG": b"<svg", "CSV": b"part,"}
    for kind, begin in begins.items():
        chart.locator(".save summary").click()
        with page.expect_download() as saving:
            chart.get_by_role("button", name=kind).click()
        assert re.search(rf"seed-5.*\.{kind.lower()}$", saving.value.suggested_filename)
        assert Path(saving.value.path()).read_bytes().startswith(begin)


def test_a_measurement_is_taken_home_with_its_charts_on_a_phone_too(app: str, phone: Page) -> None:
    open_stage(phone, f"{app}/jit_grad?seed=5&jit_grad_panel=Timings")
    h.press(phone, "Measure")
    phone.get_by_text("Taken at").wait_for()
    begins = {"Script": b'"""jit(grad(f))', "Notebook": b"{", "CSV": b"label,phase", "PNG": b"\x89PNG", "SVG": b"<svg"}
    h.press(phone, "Take it home")
    for name, begin in begins.items():
        with phone.expect_download() as saving:
            h.press(phone, name)
        assert Path(saving.value.path()).read_bytes().startswith(begin)


def test_a_run_is_taken_home_as_a_script_and_a_notebook_on_a_phone_too(app: str, phone: Page) -> None:
    open_stage(phone, f"{app}/jit_grad_vmap?seed=5&batch_size=8")
    h.press(phone, "More")
    taken = {}
    for name in ("Script", "Notebook"):
        with phone.expect_download() as saving:
            h.press(phone, name)
        taken[name] = Path(saving.value.path()).read_text(encoding="utf-8")
    assert f"{app}/jit_grad_vmap?" in taken["Script"] and "SEED = 5" in taken["Script"]
    assert "batch_size=8" in taken["Script"] and json.loads(taken["Notebook"])["nbformat"] == 4
    assert "What to notice" in taken["Notebook"]
    open_stage(phone, f"{app}/jit_grad_vmap?seed=5&batch_size=8&jit_grad_vmap_panel=Code")
    phone.get_by_text("The run above as a script of its own").click()
    shown = phone.locator(".st-key-panel [data-testid=stCode]").filter(has_text="NUM_STEPS = 300")
    shown.wait_for()
    code = taken["Script"].partition("Settings: ")[2]  # above is the link, in which a panel is open now
    assert shown.locator("code").text_content().partition("Settings: ")[2].strip() == code.strip()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["jit_vmap?jit_vmap_panel=Code", "training?training_panel=Notice"])
def test_all_text_stands_out_from_its_ground(chromium: Browser, app: str, path: str, scheme: str) -> None:
    context = chromium.new_context(viewport=h.SCREEN, color_scheme=scheme)
    page = context.new_page()
    open_stage(page, f"{app}/{path}")
    page.locator(".st-key-panel").wait_for()
    run(page)
    assert not page.evaluate(PALE)
    context.close()
