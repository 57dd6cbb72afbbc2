"""A real browser for tests of the HTML export: headless Chromium, without any network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.stages import ROOT

AXE = ROOT / ".venv" / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="there is no Chromium with its driver: apt-get install chromium chromium-driver"
)
FLAGS = (
    "--headless=new",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name has an address, so nothing can be reached
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,900",
)


class Page:
    """A page in a browser."""

    def __init__(self, driver: webdriver.Chrome, file: Path) -> None:
        self.driver = driver
        self.file = file
        self.open()

    def open(self, view: str = "") -> None:
        """Load the page again, with the view that its address names."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.file.as_uri()}#{view}")
        self.wait(lambda: not self.find("needs").is_displayed())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript as the console does; `model` is what the page offers there."""
        return self.driver.execute_script(f"const model = window.minimalLlm; {script}", *arguments)

    def find(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        return self.find(name).text

    def wait(self, happened: Any, seconds: float = 60) -> Any:
        redrawn = (StaleElementReferenceException,)  # an element that the page replaces between two questions about it
        return WebDriverWait(self.driver, seconds, 0.05, redrawn).until(lambda _: happened())

    def set(self, name: str, value: object) -> None:
        """Change a control as a user does."""
        self.run(
            "const control = document.getElementById(arguments[0]);"
            "if (typeof arguments[1] === 'boolean') control.checked = arguments[1]; else control.value = arguments[1];"
            "control.dispatchEvent(new Event('input', {bubbles: true}));",
            name,
            value,
        )

    def show(self, view: str) -> None:
        """Open a view by its tab."""
        self.find(f"tab-{view}").click()

    def emulate(self, width: int = 1280, *, dark: bool = False) -> None:
        """Take the width and the colour scheme of another device."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def requests(self) -> list[str]:
        """The addresses requested since the last call, but for the page itself."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [
            found["params"]["request"]["url"] for found in messages if found["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in sent if not url.startswith((self.file.as_uri(), "data:", "about:"))]

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start a browser, and end it."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in FLAGS + (("--no-sandbox",) if os.geteuid() == 0 else ()):  # as root it has no sandbox
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
