"""The app in a real browser, as a lecturer and a student use it."""

import re

import harness as h
import pytest
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=120_000)  # a busy machine is no failure


COMPILED = ".live [aria-label*='; then ']"
"""The chart of the time a step takes, once it has what it took to compile."""


def running(page: Page) -> None:
    expect(page.locator(".stats").first).to_contain_text("running")


def test_a_fresh_process_serves_a_deep_link_with_the_whole_frame(fresh_app: str, page: Page) -> None:
    h.open_page(page, f"{fresh_app}/training")
    expect(page.locator("h1")).to_have_text("Training: all transformations in one loop")
    for label in ("Batch size", "Learning rate", "Device", "Seed"):
        expect(page.locator(".st-key-stage_bar").get_by_text(label, exact=True)).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(h.PAGES))
    assert page.url.endswith("/training")


def test_a_run_learns_in_place_and_pauses_at_once(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/training?training_pace=unlimited")
    h.press(page, "Run")
    running(page)
    page.wait_for_function("document.querySelectorAll('.live .chart canvas, .live .chart svg').length >= 3")
    h.wait_for_stat(page, "Test loss", r"\d")
    page.locator(COMPILED).wait_for()  # the charts have their first data, and are laid out for them
    h.wait_for_frames(page, 4)
    page.evaluate("document.querySelectorAll('.live .chart canvas, .live .chart svg').forEach(e => e.marked = true)")
    before = h.step_of(page)
    page.wait_for_function(
        f"+document.querySelector('.stats').innerText.match(/Step\\n([\\d,]+)/)[1].replaceAll(',', '') > {before + 5000}"
    )
    h.wait_for_frames(page, 5)
    kept = page.evaluate(
        "[...document.querySelectorAll('.live .chart canvas, .live .chart svg')].map(e => e.marked === true)"
    )
    assert len(kept) == 3 and all(kept), "a chart was embedded anew while the run went on"
    assert float(h.stats(page)["Loss"]) < 0.1, "the loss of the first step is about 0.7"
    h.press(page, "Pause")
    expect(page.locator(".stats").first).to_contain_text("paused")
    h.wait_for_rest(page)
    paused_at = h.step_of(page)
    h.press(page, "Step")
    h.wait_for_stat(page, "Step", f"^{paused_at + 1:,}$")
    h.press(page, "Reset")
    h.wait_for_stat(page, "Step", "^0$")


def test_a_browser_that_is_slow_misses_frames_and_answers(app: str, page: Page) -> None:
    """Drawing a frame takes a phone longer than the server takes to the next: what is old must not queue up."""
    h.open_page(page, f"{app}/training?training_pace=unlimited")
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
    h.press(page, "Run")
    running(page)
    h.wait_for_frames(page, 5)
    h.press(page, "Pause")
    expect(page.locator(".stats").first).to_contain_text("paused")


def test_of_frames_that_come_faster_than_they_are_drawn_the_newest_is(app: str, page: Page) -> None:
    page.add_init_script(
        "const Real = WebSocket; window.WebSocket = class extends Real { constructor(...a) { super(...a);"
        "if (/live/.test(a[0])) { window.live = this; window.frames_ = [];"
        "this.addEventListener('message', ({ data }) => typeof data !== 'string' && frames_.push(data)); } } }"
    )
    h.open_page(page, f"{app}/jit_vmap")
    h.press(page, "Step")
    h.wait_for_stat(page, "Step", "^1$")
    h.wait_for_rest(page)
    before = h.frames_of(page)
    # Each in a turn of its own, as they come: first all the old ones, over and over, and behind them the newest.
    page.evaluate(
        """async () => {
            const { port1, port2 } = new MessageChannel();
            const kept = [...frames_], turn = () => new Promise(done => { port1.onmessage = done; port2.postMessage(0); });
            for (let i = 0; i < 60; i++) {
                live.dispatchEvent(new MessageEvent("message", { data: kept[i === 59 ? kept.length - 1 : i % kept.length] }));
                await turn();
            }
        }"""
    )
    h.wait_for_rest(page)
    assert h.step_of(page) == 1
    assert h.frames_of(page) - before < 20, "what nobody can see is drawn"


def test_where_a_policy_forbids_code_out_of_texts_charts_are_drawn_all_the_same(app: str, page: Page) -> None:
    page.add_init_script(
        """window.Function = new Proxy(Function, { construct: (made, args) => {
            if (args[0] !== "return 1") return Reflect.construct(made, args);
            window.refused = true;
            throw new EvalError("Refused to evaluate a string as JavaScript");
        } });"""
    )
    h.open_page(page, f"{app}/jit_vmap")
    h.press(page, "Step")
    h.wait_for_stat(page, "Step", "^1$")
    h.wait_for_rest(page)
    assert page.evaluate("window.refused")
    drawn = "[...document.querySelectorAll('.live .chart canvas')].map(canvas => canvas.toDataURL())"
    before = page.evaluate(drawn)
    h.press(page, "Step")
    h.wait_for_stat(page, "Step", "^2$")
    h.wait_for_rest(page)
    after = page.evaluate(drawn)
    assert len(after) == 3 and all(one != other for one, other in zip(before, after, strict=True))


def test_a_changed_learning_rate_applies_without_reset_and_without_compiling(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/training?training_pace=unlimited")
    h.press(page, "Run")
    running(page)
    before = h.step_of(page)
    h.set_slider(page, "Learning rate", "0.001")
    expect(page.locator(".stats").first).to_contain_text("0.001")
    expect(page.get_by_text(re.compile("Programs of this run: 1"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"Learning rate changed \d+ times? on the way: 0 compilations"))).to_be_visible()
    running(page)
    assert h.step_of(page) > before


def test_a_changed_batch_size_compiles_and_goes_on_from_the_same_weights(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/training?training_pace=unlimited")
    h.press(page, "Run")
    running(page)
    h.wait_for_stat(page, "Step", "[1-9]")
    before = h.step_of(page)
    h.choose(page, "Batch size", "64")
    expect(page.get_by_text(re.compile(r"for batch size 64 on cpu:0.*compile"))).to_be_visible()
    running(page)
    page.wait_for_function(
        f"+document.querySelector('.stats').innerText.match(/Step\\n([\\d,]+)/)[1].replaceAll(',', '') > {before}"
    )


def test_settings_live_in_the_address_and_survive_a_reload_and_another_page(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/training?batch_size=128&learning_rate=0.3&device=cpu:2&seed=7&data=moons&width=16")

    def as_set() -> None:
        expect(page.get_by_label("Batch size", exact=True)).to_have_value("128")
        expect(page.locator(".st-key-learning_rate").get_by_test_id("stSliderThumbValue")).to_have_text("0.3")
        expect(page.get_by_label("Device", exact=True)).to_have_value("cpu:2")
        expect(page.get_by_label("Seed", exact=True)).to_have_value("7")

    for _ in range(2):
        as_set()
        expect(page.get_by_label("Data", exact=True)).to_have_value("moons")
        page.reload()
        h.settle(page)
    page.get_by_test_id("stSidebarNavLink").filter(has_text="jit(vmap(f))").click()
    expect(page.locator("h1")).to_contain_text("jit(vmap(f))")
    as_set()
    assert "batch_size=128" in page.url and "seed=7" in page.url


def test_an_invalid_address_falls_back_to_the_defaults(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/training?batch_size=33&learning_rate=fast&device=tpu:9&seed=-4&data=none&depth=99")
    expect(page.get_by_label("Batch size", exact=True)).to_have_value("32")
    expect(page.locator(".st-key-learning_rate").get_by_test_id("stSliderThumbValue")).to_have_text("0.03")
    expect(page.get_by_label("Device", exact=True)).to_have_value("cpu:0")
    expect(page.get_by_label("Data", exact=True)).to_have_value("circles")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("0")


def test_a_cut_connection_finds_the_run_where_it_was(app: str, page: Page) -> None:
    page.add_init_script(
        "window.sockets = []; const Real = WebSocket;"
        "window.WebSocket = class extends Real { constructor(...a) {"
        "    super(...a); window.sockets.push(this); if (window.cut && this.url.includes('/live/')) this.close();"
        "} }"
    )
    h.open_page(page, f"{app}/training?training_pace=1000")
    h.press(page, "Run")
    running(page)
    h.wait_for_stat(page, "Step", "[1-9]")
    before = h.step_of(page)
    page.evaluate("window.cut = true; window.sockets.forEach(socket => socket.close())")
    page.wait_for_function(
        "window.sockets.filter(socket => socket.url.includes('/live/')).length > 5"
    )  # it never gives up
    page.evaluate("window.cut = false")
    page.wait_for_function(
        f"+document.querySelector('.stats').innerText.match(/Step\\n([\\d,]+)/)[1].replaceAll(',', '') > {before}"
    )
    expect(page.get_by_text(re.compile("Programs of this run: 1"))).to_be_visible()


def test_the_texts_of_a_chart_are_light_on_a_dark_ground(chromium: Browser, app: str) -> None:
    context = chromium.new_context(viewport=h.SCREEN, color_scheme="dark")
    page = context.new_page()
    h.open_page(page, f"{app}/jit_grad")
    h.press(page, "Run")
    page.locator(COMPILED).wait_for()
    h.press(page, "Pause")
    black = page.evaluate(
        """() => [...document.querySelectorAll(".live .chart canvas")].map(canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4)
                count += data[i] < 40 && data[i + 1] < 40 && data[i + 2] < 40 && data[i + 3] > 200;
            return count;
        })"""
    )
    assert black == [0, 0, 0]
    context.close()


def test_divergence_is_told_in_a_sentence(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/jit_grad_vmap?learning_rate=10&reduction=sum")
    h.press(page, "Run")
    warning = page.locator(".live .warning").filter(has_text="infinite or not a number at learning rate 10")
    warning.wait_for()
    expect(page.locator(".stats").first).to_contain_text("diverged")


def test_after_a_divergence_a_press_goes_back_to_when_the_loss_was_low(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/jit_grad_vmap?jit_grad_vmap_pace=1000")
    h.press(page, "Run")
    h.wait_for_stat(page, "Step", r"[1-9]\d\d")
    h.set_slider(page, "Learning rate", "10")
    warning = page.locator(".live .warning")
    warning.wait_for()
    offered = re.search(r"Go back returns to step ([\d,]+),", warning.inner_text())
    assert offered
    h.press(page, "Go back")
    h.wait_for_stat(page, "Status", "paused")
    h.wait_for_stat(page, "Step", f"^{offered[1]}$")
    expect(warning).to_have_count(0)
    h.set_slider(page, "Learning rate", "0.03")
    expect(page.locator(".stats").first).to_contain_text("0.03")
    h.press(page, "Run")
    running(page)
    step = int(offered[1].replace(",", ""))
    page.wait_for_function(
        f"+document.querySelector('.stats').innerText.match(/Step\\n([\\d,]+)/)[1].replaceAll(',', '') > {step}"
    )


def test_the_map_opens_a_lesson(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/?seed=3")
    page.evaluate("window.same = true")
    page.get_by_role("link", name="Open the lesson training").click()
    expect(page.locator("h1")).to_contain_text("Training")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("3")
    assert page.evaluate("window.same"), "the page was loaded anew: the session is lost"


def test_a_measurement_fills_its_chart(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/jit_grad?jit_grad_panel=Timings")
    h.press(page, "Measure")
    page.get_by_text(re.compile(r"Taken at \d\d:\d\d:\d\d")).wait_for()
    chart = page.get_by_test_id("stVegaLiteChart").filter(has_text="One gradient, by phases")
    for phase in ("trace", "lower", "compile", "first run", "steady", "dispatch alone", "eager"):
        expect(chart.get_by_text(re.compile(phase)).first).to_be_attached()
    expect(page.get_by_text(re.compile(r"The compiler counts \d+ flops"))).to_be_visible()


CSV = "height,weight,kind\n" + "\n".join(f"{i % 7},{(i * i) % 11},{i % 2}" for i in range(60))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (CSV, "45 examples to train on, 15 held out"),
        ("", "The file is empty"),
        ("a,b\n1,2\n3,x\n5,6\n7,8\n9,y", "holds 'x'"),
        ("just one column\n1\n2\n3\n4\n5", "only one column"),
    ],
)  # fmt: skip
def test_an_uploaded_csv_is_read_or_told_what_is_wrong_with_it(
    app: str, page: Page, content: str, sentence: str
) -> None:
    h.open_page(page, f"{app}/training")
    page.get_by_test_id("stSelectbox").filter(has_text="Data").first.locator("input").click()
    page.get_by_role("option", name="your own CSV").click()
    page.locator("input[type=file]").set_input_files(
        {"name": "d.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    if "kind" not in content and "x" in sentence:
        page.get_by_test_id("stSelectbox").filter(has_text="Target").locator("input").click()
        page.get_by_role("option", name="a", exact=True).click()
    page.get_by_text(sentence).first.wait_for()
    if content == CSV:
        h.press(page, "Run")
        running(page)


def test_a_stack_is_built_in_the_composition_lab_and_its_address_restores_it(app: str, page: Page) -> None:
    h.open_page(page, f"{app}/composition?batch_size=8&composition_panel=Levels")
    expect(page.locator(".ladder")).to_contain_text("jit(vmap(grad(f)))")
    page.get_by_role("button", name="+ checkpoint", exact=True).click()
    expect(page.locator(".ladder")).to_contain_text("checkpoint(jit(vmap(grad(f))))")
    expect(page.locator(".ladder")).not_to_contain_text("compiling")
    assert "stack=checkpoint" in page.url
    page.reload()
    expect(page.locator(".ladder")).to_contain_text("checkpoint(jit(vmap(grad(f))))")
    page.get_by_role("radio", name="Inside", exact=True).click()
    page.get_by_text("Graph", exact=True).click()
    expect(page.get_by_role("img", name="Mermaid flowchart")).to_be_visible()


def test_where_no_frame_comes_through_the_page_draws_its_run_by_itself(app: str, page: Page) -> None:
    page.route_web_socket(re.compile("/live/"), lambda socket: socket.close())
    h.open_page(page, f"{app}/training")
    page.get_by_test_id("stVegaLiteChart").first.wait_for()
    h.press(page, "Run")
    h.wait_for_stat(page, "Step", r"[1-9]\d\d")
    h.press(page, "Pause")
    h.wait_for_stat(page, "Status", "paused")
    assert not page.locator(".live").count()


def test_a_frame_is_only_for_who_has_its_token(app: str, page: Page) -> None:
    h.open_page(page, app)
    code = page.evaluate(
        """() => new Promise(resolve => {
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/live/AAAAAAAAAAAAAAAAAAAAAAAA");
            socket.onmessage = () => resolve("a frame");
            socket.onclose = event => resolve(event.code);
        })"""
    )
    assert code == 4404


def test_behind_a_base_path_frames_come_through(chromium: Browser) -> None:
    with h.serve(base="/lessons/jax") as server:
        page = chromium.new_page(viewport=h.SCREEN)
        h.open_page(page, f"{server.url}/training")
        page.locator(".live").wait_for()
        h.press(page, "Run")
        h.wait_for_stat(page, "Step", r"[1-9]")
        expect(page.locator(".live .chart canvas")).to_have_count(3)


def test_in_a_frame_of_a_course_page_frames_come_through(app: str, page: Page) -> None:
    page.set_content(f'<iframe src="{app}/training?embed=true" width="1200" height="600"></iframe>')
    inside = page.frame_locator("iframe")
    inside.get_by_role("button", name="Run Space", exact=True).click()
    expect(inside.locator(".stats .value").nth(1)).to_have_text(re.compile(r"[1-9][\d,]*"))
    expect(inside.locator(".live .chart canvas")).to_have_count(3)
