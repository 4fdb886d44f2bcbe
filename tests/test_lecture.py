"""A lecture in real browsers: a lecturer, a student at a laptop, two with phones."""

import re
from contextlib import ExitStack
from urllib.parse import urlsplit

import harness as h
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=60_000)  # a busy machine is no failure

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def vote(student: Page, choice: str) -> None:
    """Two taps."""
    student.get_by_role("button", name=choice).click()
    student.get_by_role("button", name="Answer", exact=True).click()
    expect(student.get_by_role("button", name="Answered ✓")).to_be_disabled()


def say(lecturer: Page, what: str) -> None:
    lecturer.locator(f".room [data-do={what}]").click()


def bars(page: Page, round: int) -> list[str]:
    return page.locator(f".room-row[data-round='{round}'] small").all_inner_texts()


def test_a_lecture_from_joining_to_a_restart_of_the_server(chromium: Browser) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(h.serve())
        lecturer, laptop, phone, other = pages = [
            stack.enter_context(chromium.new_context(**options)).new_page()  # type: ignore[arg-type]
            for options in ({"viewport": h.SCREEN}, {"viewport": {"width": 1280, "height": 720}}, PHONE, PHONE)
        ]
        errors = [h.console_errors(page) for page in pages]
        students = (laptop, phone, other)

        # Join: by the link, by the code, and by the code alone.
        h.open_page(lecturer, f"{server.url}/jit_vmap?seed=5")
        h.press(lecturer, "Teach")
        code = lecturer.locator(".room-code").inner_text()
        assert lecturer.locator(".room-link").inner_text() == f"{server.url}/lecture?room={code}"
        expect(lecturer.locator(".room-qr svg")).to_be_in_viewport(ratio=1)
        say(lecturer, "hide")
        laptop.goto(f"{server.url}/?room={code.lower()}")
        phone.goto(f"{server.url}/lecture?room={code}")
        other.goto(f"{server.url}/lecture")
        other.get_by_label("Code", exact=True).fill(code)
        other.get_by_role("button", name="Join").click()
        for student in students:
            expect(student.locator("h1")).to_contain_text("jit(vmap(f))")
        expect(lecturer.locator(".room-people")).to_have_text("3 follow")

        # Follow: the settings, the run, the panel.
        h.choose(lecturer, "Batch size", "8")
        h.press(lecturer, "Step")  # not Run: four browsers that draw are a load
        for page in pages:
            expect(page.locator(".stats > div", has_text="Step").first).to_have_text(re.compile("1$"))
        lecturer.locator(".st-key-panels").get_by_role("radio", name="Code", exact=True).click()
        for student in students:
            expect(student.get_by_label("Batch size", exact=True)).to_have_value("8")
            expect(student.locator(".st-key-panel")).to_contain_text("import jax")
            assert not student.get_by_test_id("stSidebarNavLink").count()
        lecturer.locator(".st-key-panels").get_by_role("radio", name="Notice", exact=True).click()
        for student in students:
            expect(student.locator(".st-key-panel")).to_contain_text("Read on:")
            expect(student.locator(".st-key-panel")).not_to_contain_text("import jax")
        lecturer.locator(".st-key-panels").get_by_role("radio", name="Notice", exact=True).click()
        for student in students:
            expect(student.locator(".st-key-panel")).to_have_count(0)

        # Leave with the lecturer's settings, change what is one's own, and come back.
        say(phone, "leave")
        expect(phone.get_by_label("Batch size", exact=True)).to_have_value("8")
        assert "seed=5" in phone.url and "teach" not in phone.url
        h.choose(phone, "Batch size", "64")
        expect(lecturer.locator(".room-people")).to_have_text("2 follow")
        assert lecturer.get_by_label("Batch size", exact=True).input_value() == "8"
        assert laptop.get_by_label("Batch size", exact=True).input_value() == "8"
        phone.get_by_role("link", name=f"Back to the lecture {code}").click()
        expect(phone.get_by_label("Batch size", exact=True)).to_have_value("8")

        # Vote, change one's mind, reveal, vote again.
        say(lecturer, "form")
        lecturer.get_by_label("Question").fill("What does `vmap` add?")
        for number, choice in enumerate(("a batch axis", "a loop", "a device"), 1):
            lecturer.get_by_label(f"Choice {number}").fill(choice)
        lecturer.get_by_role("button", name="Put it to the room").click()
        answer = phone.get_by_role("button", name="a batch axis")
        expect(answer).to_be_in_viewport(ratio=1)
        assert (answer.bounding_box() or {})["width"] > 0.9 * 390
        vote(laptop, "a loop")
        vote(phone, "a device")
        vote(phone, "a batch axis")
        expect(lecturer.locator(".room-count")).to_have_text("2 of 3 have answered")
        assert not lecturer.locator(".room-row").count() and not phone.locator(".room-row").count()
        phone.reload()  # it has voted, and is no other voter now
        expect(phone.get_by_role("button", name="Answered ✓")).to_be_disabled()
        vote(phone, "a loop")
        vote(other, "a batch axis")
        expect(lecturer.locator(".room-count")).to_have_text("3 of 3 have answered")
        say(lecturer, "reveal")
        for page in pages:
            expect(page.locator(".room-row")).to_have_count(3)
            assert bars(page, 1) == ["(1)", "(2)", "(0)"]
        say(lecturer, "again")
        for student in students:
            vote(student, "a batch axis")
        say(lecturer, "reveal")
        for page in pages:
            expect(page.locator(".room-row")).to_have_count(6)
            assert (bars(page, 1), bars(page, 2)) == (["(1)", "(2)", "(0)"], ["(3)", "(0)", "(0)"])
        size = lecturer.evaluate("parseFloat(getComputedStyle(document.querySelector('.room-choices p')).fontSize)")
        assert size >= 24, "readable from the back row"

        # A question of the lesson's: Run shows what the program does.
        say(lecturer, "form")
        lecturer.locator(".room-offer").first.click()
        for student in students:
            student.locator("[data-do=choose]").first.click()
            say(student, "answer")
        expect(lecturer.locator(".room-count")).to_have_text("3 of 3 have answered")
        say(lecturer, "reveal")
        say(lecturer, "run")
        for page in pages:
            expect(page.locator(".room-choices .true")).to_have_count(1)
            expect(page.locator(".room-truth")).not_to_have_text("Running …")
        say(lecturer, "done")

        # The lecturer's place survives a reload, and with it his run.
        steps = lecturer.locator(".stats > div", has_text="Step").first
        before = steps.inner_text()
        lecturer.reload()
        expect(lecturer.locator(".room-people")).to_have_text("3 follow")
        expect(steps).to_have_text(before, use_inner_text=True)
        lecturer.get_by_test_id("stSidebarNavLink").filter(has_text="jit(grad(f))").click()
        for student in students:
            expect(student.locator("h1")).to_contain_text("jit(grad(f))")
        assert errors == [[]] * 4 and not server.errors(), server.log()

        # The server is started anew: a sentence, no white page; the room is opened again under its code.
        server.process.terminate()
        server.process.wait(30)
        stack.enter_context(h.serve(port=urlsplit(server.url).port or 0))
        expect(lecturer.locator(".room-bar")).to_contain_text(f"The room {code} is gone")
        for student in students:
            expect(student.locator(".room-card")).to_contain_text(f"There is no lecture {code} now")
        say(lecturer, "opened")
        for student in students:
            expect(student.locator("h1")).to_contain_text("jit(grad(f))")
            expect(student.locator(".room-over")).to_be_hidden()
        expect(lecturer.locator(".room-people")).to_have_text("3 follow")
        assert "teach=" in lecturer.url

        # The end.
        say(lecturer, "end")
        say(lecturer, "ended")
        expect(lecturer.get_by_role("button", name="Teach")).to_be_visible()
        expect(lecturer.locator(".room-bar")).to_have_count(0)
        expect(laptop.locator(".room-card")).to_contain_text(f"There is no lecture {code} now")
        assert not any(page.get_by_test_id("stException").count() for page in pages)
