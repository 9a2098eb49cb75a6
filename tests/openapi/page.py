"""What is wrong with the page at /docs, as Chromium shows it."""

import json
import subprocess
import urllib.parse
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


def problems(url):
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path="/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    try:
        document = json.load(urllib.request.urlopen(f"{url}/openapi.json"))
        driver.get(f"{url}/docs")
        WebDriverWait(driver, 20).until(lambda d: d.find_elements(By.CSS_SELECTOR, "details"))
        return [*of_operations(driver, document), *of_elements(driver, url), *of_sending(driver)]
    finally:
        driver.quit()


def of_operations(driver, document):
    """Every operation but HEAD is shown, with its path and what it asks for."""
    operations = {
        operation["operationId"]: path
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "head"
    }
    cards = driver.find_elements(By.CSS_SELECTOR, "details.operation")
    driver.execute_script(
        "document.querySelectorAll('details.operation').forEach(d => d.open = true)"
    )
    if len(cards) != len(operations):
        yield f"{len(cards)} operations are shown, {len(operations)} are described"
    for card in cards:
        identity = urllib.parse.unquote(card.get_attribute("id"))
        path = card.find_element(By.CSS_SELECTOR, ".path").text
        expected = urllib.parse.unquote(operations.get(identity, ""))
        # Blanks in a row are shown as one.
        if path.split() != expected.split():
            yield f"{identity} is shown as {path}, not as {expected}"
        if not card.find_elements(By.CSS_SELECTOR, "dl.statuses dt"):
            yield f"{identity} shows no statuses"


def of_elements(driver, url):
    """Nothing but the page's own elements is in it, and nobody else is asked for anything."""
    for tag, count in [("script", 1), ("img", 0), ("iframe", 0), ("link", 2)]:
        found = driver.find_elements(By.TAG_NAME, tag)
        if len(found) != count:
            yield f"{len(found)} elements <{tag}>, expected {count}"
    names = driver.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    yield from (f"{name} is asked for" for name in names if not name.startswith(f"{url}/"))
    yield from (entry["message"] for entry in driver.get_log("browser"))


def of_sending(driver):
    """The first example is answered with 200, and its line for a shell gets the same answer."""
    card = driver.find_element(By.CSS_SELECTOR, "details.operation")
    driver.execute_script("arguments[0].click()", card.find_element(By.CSS_SELECTOR, ".send"))
    status = WebDriverWait(driver, 20).until(
        lambda _: card.find_elements(By.CSS_SELECTOR, "p.status")
    )
    if status[0].text != "200 OK":
        yield f"the first example gets {status[0].text}"
    shown = card.find_elements(By.CSS_SELECTOR, ".side pre")[0].get_attribute("textContent")
    command = card.find_element(By.CSS_SELECTOR, ".curl pre").get_attribute("textContent")
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout
    answer = output.split("\n\n")[-1] if "\n\n" in output else output
    if json.loads(shown) != json.loads(answer):
        yield f"the page shows {shown}, and {command} gets {answer}"
    area = card.find_element(By.TAG_NAME, "textarea")
    area.clear()
    area.send_keys("it's no JSON")
    driver.execute_script("arguments[0].click()", card.find_element(By.CSS_SELECTOR, ".send"))
    WebDriverWait(driver, 20).until(
        lambda _: card.find_element(By.CSS_SELECTOR, "p.status").text == "400 Bad Request"
    )
    errors = driver.get_log("browser")
    yield from (entry["message"] for entry in errors if "400" not in entry["message"])
    command = card.find_element(By.CSS_SELECTOR, ".curl pre").get_attribute("textContent")
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout
    if "400 Bad Request" not in output or "JSON Parse error" not in output:
        yield f"{command} gets {output}"
