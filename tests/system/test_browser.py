"""The FastAPI example and Flower in a real browser: what its scripts do, and what a user sees in the end."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from actas.sandbox.remote import SandboxControl
from tests.support import eventually
from tests.system.programs import program

ZONE = "America/New_York"
SIZE = {"width": 900, "height": 700}
FLAGS = (
    "--headless",
    "--no-sandbox",  # whoever runs the tests may be root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en-US",
)
TEXT = "Good morning from a browser."


def seen(look: Callable[[], bool], *, what: str) -> None:
    """As eventually; what is looked at may give way to the next page meanwhile."""

    def looked() -> bool:
        with contextlib.suppress(StaleElementReferenceException, NoSuchElementException):
            return look()
        return False

    eventually(looked, what=what)


class Window:
    """A browser's window, used by what is seen in it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def press(self, text: str) -> None:
        (button,) = [found for found in self.driver.find_elements(By.CSS_SELECTOR, "button, a") if found.text == text]
        button.click()

    def says(self, text: str) -> None:
        seen(lambda: text in self.find("body").text, what=f"the page says {text!r}")

    def rows(self) -> list[list[str]]:
        """The cells of the table's rows, without its head."""
        rows = self.driver.find_elements(By.CSS_SELECTOR, "table tr")[1:]
        return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]

    def schedule(self, text: str, local: datetime) -> None:
        self.find("textarea").send_keys(text)
        field = self.find("input[type=datetime-local]")
        self.driver.execute_script("arguments[0].value = arguments[1]", field, f"{local:%Y-%m-%dT%H:%M}")
        self.press("Schedule")
        self.says("Scheduled for ")

    def picture(self, file: Path) -> None:
        assert self.driver.save_screenshot(str(file))
        assert struct.unpack(">II", file.read_bytes()[16:24]) == tuple(SIZE.values()), "in the PNG's header"


@pytest.fixture
def window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    monkeypatch.setenv("SE_OFFLINE", "true")  # nothing is downloaded, whatever is missing
    monkeypatch.setenv("TZ", ZONE)  # the browser's, which gets it from its driver
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(program("chromedriver"), log_output=str(tmp_path / "chromedriver.log"))
    driver = webdriver.Chrome(options, service)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE | {"deviceScaleFactor": 1, "mobile": False})
    try:
        yield Window(driver)
    finally:
        driver.quit()


def test_a_user_connects_schedules_and_sees_the_post_done_and_an_operator_sees_the_job(
    start, window, tmp_path, pytestconfig
):
    example = start("fastapi")

    window.driver.get(example.url)
    window.find("[name=user]").send_keys("alice")
    window.press("Sign in")
    window.says("Signed in as alice")

    window.press("Connect an X account")
    window.says("The sandbox asks: may actas-demo post as …?")
    window.press("Allow")
    window.says("Connected: account ")
    assert window.driver.current_url == f"{example.url}/", "the code has left the address bar"

    # What is typed is the time of the browser's zone; and one that has just passed means now.
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    tomorrow = minute + timedelta(days=1)
    window.schedule("And this is tomorrow's.", tomorrow.astimezone(ZoneInfo(ZONE)))
    window.schedule(TEXT, minute.astimezone(ZoneInfo(ZONE)))

    def done() -> bool:
        window.press("Look again")
        return window.rows()[0][2] == "succeeded"

    seen(done, what="the post is shown as done")
    now, later = window.rows()
    assert (now[0], now[3][:5], now[4]) == (TEXT, "post ", "")
    assert (later[0], later[2], later[4]) == ("And this is tomorrow's.", "scheduled", "Cancel")
    times = window.driver.find_elements(By.TAG_NAME, "time")
    assert [datetime.fromisoformat(time.get_attribute("datetime") or "") for time in times] == [minute, tomorrow]
    local = minute.astimezone(ZoneInfo(ZONE))
    assert f"{local:%b %-d, %Y, %-I:%M}" in times[0].text, "shown as the browser's clock has it"
    ledger = SandboxControl(example.address("timeline")).ledger()
    assert [(post["account"], post["text"]) for post in ledger["posts"]] == [("alice", TEXT)]

    picture = tmp_path / "jobs.png"
    window.picture(picture)
    if kept := pytestconfig.getoption("--screenshot"):
        kept.write_bytes(picture.read_bytes())

    password = (example.directory / "secrets" / "flower-admin").read_text()
    window.driver.get(example.address("Flower").replace("://", f"://admin:{password}@") + "/tasks")
    seen(lambda: "SUCCESS" in window.find("#tasks-table").text, what="Flower shows the job as done")
    window.find("#tasks-table a[href*='/task/']").click()
    window.says("user='alice', action='x.post'")
    assert "Good morning" not in window.driver.page_source
