"""Photographs of the page of a model, for docs/PAGE.md and README.md. Needs Chromium and its driver."""

from __future__ import annotations

import base64
import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

COLORS = 256  # of the palette: a third of the size
MARGIN = 24  # in pixels, around a part of the page


@dataclass(frozen=True)
class Screen:
    """A window in CSS pixels, and how many pixels of the picture each of them has, in each direction."""

    width: int
    height: int
    scale: float = 1


DESKTOP, PHONE, NARROW = Screen(1060, 860), Screen(360, 720), Screen(740, 1600, 1.5)


def take(page: Path, docs: Path) -> None:
    """Photograph the views of a page into the folder of the documents."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        for name, view, screen, dark, act in (
            ("page/write", "write", DESKTOP, False, write),
            ("page/look", "look", DESKTOP, False, lambda driver: select(driver, "#look-tokens", 8)),
            ("page/attention", "attention", DESKTOP, False, show_head),
            ("page/embeddings", "embeddings", DESKTOP, False, scroll_to_map),
            ("page/learned", "training", DESKTOP, False, to_first_epoch),
            ("page/phone", "write", PHONE, True, write),
            ("pictures/page", "write", NARROW, False, write_and_select_early),
            ("pictures/page-dark", "write", NARROW, True, write_and_select_early),
        ):
            photograph(driver, f"{page.resolve().as_uri()}#{view}", screen, dark, act, docs / f"{name}.png")
    finally:
        driver.quit()


def photograph(
    driver: webdriver.Chrome, address: str, screen: Screen, dark: bool, act: Callable[..., None], path: Path
) -> None:
    metrics = {"width": screen.width, "height": screen.height, "deviceScaleFactor": screen.scale}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics | {"mobile": screen == PHONE})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    driver.get("about:blank")
    driver.get(address)
    time.sleep(1.5)
    act(driver)
    time.sleep(0.5)
    shot = driver.find_element(By.CLASS_NAME, "reader") if screen == NARROW else driver
    seen = shot.screenshot_as_base64 if isinstance(shot, WebElement) else shot.get_screenshot_as_base64()
    picture = Image.open(io.BytesIO(base64.b64decode(seen))).convert("RGB")
    if screen == NARROW:
        paper = "return getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()"
        picture = ImageOps.expand(picture, MARGIN, driver.execute_script(paper))
    picture.quantize(COLORS).save(path, optimize=True)


def write(driver: webdriver.Chrome, chosen: int = 19) -> None:
    """Let the model write, and select one of its tokens."""
    driver.execute_script(
        "const values = {pace: 201, seed: '7', count: 90};"
        "for (const [id, value] of Object.entries(values)) document.getElementById(id).value = value;"
        "document.getElementById('fresh').checked = false; document.getElementById('go').click()"
    )
    time.sleep(2)
    select(driver, "#story", chosen)


def write_and_select_early(driver: webdriver.Chrome) -> None:
    """Select a token of the first line, where a narrow screen does not break it."""
    write(driver, chosen=5)


def select(driver: webdriver.Chrome, text: str, number: int) -> None:
    driver.find_elements(By.CSS_SELECTOR, f"{text} .token")[number].click()


def show_head(driver: webdriver.Chrome) -> None:
    driver.find_elements(By.CSS_SELECTOR, "#heads label")[-1].click()


def scroll_to_map(driver: webdriver.Chrome) -> None:
    driver.execute_script("document.getElementById('zoom-in').scrollIntoView()")


def to_first_epoch(driver: webdriver.Chrome) -> None:
    driver.find_element(By.ID, "epoch").send_keys(Keys.HOME)
