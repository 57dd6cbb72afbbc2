"""Photograph the page of a model, for docs/PAGE.md:

    make page && python scripts/page_pictures.py export/html/minimal-llm-*.html

Needs Chromium and its driver, and the packages of `make setup-dev`.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "page"
DESKTOP, PHONE = (1060, 860), (360, 720)
COLORS = 256  # of the palette: a third of the size


def main() -> int:
    page = Path(sys.argv[1]).resolve().as_uri()
    FOLDER.mkdir(exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        for name, view, size, dark, act in (
            ("write", "write", DESKTOP, False, write),
            ("look", "look", DESKTOP, False, lambda driver: select(driver, "#look-tokens", 8)),
            ("attention", "attention", DESKTOP, False, show_head),
            ("embeddings", "embeddings", DESKTOP, False, scroll_to_map),
            (
                "learned",
                "training",
                DESKTOP,
                False,
                lambda driver: driver.find_element(By.ID, "epoch").send_keys(Keys.HOME),
            ),
            ("phone", "write", PHONE, True, write),
        ):
            photograph(driver, f"{page}#{view}", size, dark, act, FOLDER / f"{name}.png")
    finally:
        driver.quit()
    return 0


def photograph(
    driver: webdriver.Chrome, address: str, size: tuple[int, int], dark: bool, act: Callable[..., None], path: Path
) -> None:
    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    driver.get("about:blank")
    driver.get(address)
    time.sleep(1.5)
    act(driver)
    time.sleep(0.5)
    picture = Image.open(io.BytesIO(base64.b64decode(driver.get_screenshot_as_base64()))).convert("RGB")
    picture.quantize(COLORS).save(path, optimize=True)


def write(driver: webdriver.Chrome) -> None:
    driver.execute_script(
        "const values = {pace: 201, seed: '7', count: 90};"
        "for (const [id, value] of Object.entries(values)) document.getElementById(id).value = value;"
        "document.getElementById('fresh').checked = false; document.getElementById('go').click()"
    )
    time.sleep(2)
    select(driver, "#story", 19)


def select(driver: webdriver.Chrome, text: str, number: int) -> None:
    driver.find_elements(By.CSS_SELECTOR, f"{text} .token")[number].click()


def show_head(driver: webdriver.Chrome) -> None:
    driver.find_elements(By.CSS_SELECTOR, "#heads label")[-1].click()


def scroll_to_map(driver: webdriver.Chrome) -> None:
    driver.execute_script("document.getElementById('zoom-in').scrollIntoView()")


if __name__ == "__main__":
    sys.exit(main())
