#!/usr/bin/env python3
"""Writes data/{train,valid,test}.csv: invented loan applications, and whether they were paid back.

The chance of default rises with what is owed against what is earned, with payments that were late, and
where short employment meets a long loan; it falls with savings and years of history. Incomes of the
self-employed are often missing, and so are savings of those who do not say.
"""

import csv
import math
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {"train": 4000, "valid": 800, "test": 800}
COLUMNS = [
    "income", "employment", "employed_years", "age", "savings", "home", "amount", "months", "purpose",
    "late_payments", "history_years", "enquiries", "default",
]
EMPLOYMENT = {"employed": 0.68, "self-employed": 0.15, "retired": 0.09, "student": 0.05, "unemployed": 0.03}
PURPOSE = {"car": 0.3, "furniture": 0.2, "renovation": 0.17, "debt": 0.15, "education": 0.1, "business": 0.08}
SAVINGS = ["none", "low", "medium", "high"]


def pick(draw, shares):
    return draw.choices(list(shares), list(shares.values()))[0]


def poisson(draw, mean):
    limit, count, product = math.exp(-mean), 0, draw.random()
    while product > limit:
        count, product = count + 1, product * draw.random()
    return count


def application(draw):
    employment = pick(draw, EMPLOYMENT)
    age = {"retired": draw.randint(60, 84), "student": draw.randint(18, 31)}.get(employment) or draw.randint(20, 66)
    working = employment in ("employed", "self-employed")
    years = min(draw.expovariate(1 / 7), age - 18) if working else 0.0
    base = {"employed": 10.45, "self-employed": 10.55, "retired": 10.0, "student": 9.2, "unemployed": 9.35}
    income = math.exp(draw.gauss(base[employment] + 0.012 * min(years, 20), 0.42))
    care = draw.gauss(0, 1)
    savings = SAVINGS[min(3, max(0, round(1.1 + 0.7 * care + 0.25 * (math.log(income) - 10.3) + draw.gauss(0, 0.6))))]
    home = draw.choices(["rent", "mortgage", "own"], [1.2, 0.02 * age, 0.012 * age])[0]
    purpose = pick(draw, PURPOSE)
    amount = math.exp(draw.gauss(8.9 + (0.5 if purpose in ("business", "renovation") else 0), 0.65))
    months = draw.choices([6, 12, 18, 24, 36, 48, 60], [1, 4, 2, 5, 4, 2, 1.5])[0]
    late = poisson(draw, math.exp(-0.9 - 0.75 * care))
    history = max(0.0, min(age - 18, draw.gauss(0.35 * (age - 18), 4)))
    enquiries = poisson(draw, math.exp(0.1 - 0.3 * care + (0.5 if purpose == "debt" else 0)))

    burden = amount / months * 12 / income
    risk = -1.9 + 2.1 * math.tanh(2.2 * (burden - 0.28))
    risk += 0.62 * min(late, 4) + 0.16 * min(enquiries, 5)
    risk += {"none": 0.55, "low": 0.25, "medium": -0.15, "high": -0.6}[savings]
    risk -= 0.045 * min(history, 15)
    risk += {"unemployed": 1.0, "student": 0.35}.get(employment, 0)
    if working and years < 1.5 and months >= 36:
        risk += 1.3
    if purpose == "business":
        risk += 0.9 if employment != "self-employed" else -0.2
    risk += 0.3 if home == "rent" and age > 35 else 0
    default = draw.random() < 1 / (1 + math.exp(-1.35 * risk))

    if draw.random() < {"self-employed": 0.4, "unemployed": 0.3}.get(employment, 0.03):
        income = None
    if draw.random() < 0.12:
        savings = ""
    return [
        "" if income is None else int(round(income, -2)), employment, round(years, 1) if working else "",
        age, savings, home, int(round(amount, -1)), months, purpose, late, round(history, 1), enquiries,
        int(default),
    ]


def main():
    draw = random.Random(20)
    (HERE / "data").mkdir(exist_ok=True)
    for part, rows in PARTS.items():
        with open(HERE / "data" / f"{part}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(application(draw) for _ in range(rows))


if __name__ == "__main__":
    main()
