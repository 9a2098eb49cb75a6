"""Trains a classifier of texts for one trial of `luthier tune`, as told on standard input."""

import csv
import json
import sys
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import f1_score

trial = json.load(sys.stdin)
values, data = trial["values"], trial["data"]


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row[data["text"][0]] for row in rows], [row[data["label"]].strip() for row in rows]


train_texts, train_labels = read(data["train"])
valid_texts, valid_labels = read(data["valid"])

features = TfidfVectorizer(
    analyzer=values["analyzer"], ngram_range=(1, values["ngrams"]), sublinear_tf=True
)
train = features.fit_transform(train_texts)
valid = features.transform(valid_texts)

model = SGDClassifier(
    loss="log_loss",
    penalty=values["penalty"],
    alpha=values["alpha"],
    l1_ratio=values.get("l1_ratio", 0.0),  # not there where the penalty is "l2"
    random_state=trial["seed"],
)
for epoch in range(1, values["epochs"] + 1):
    model.partial_fit(train, train_labels, classes=data["labels"])
    score = f1_score(valid_labels, model.predict(valid), pos_label=data["positive"])
    # One line a step. A trial without promise is ended here with SIGTERM.
    print(json.dumps({"step": epoch, trial["objective"]["metric"]: score}), flush=True)

# From these Luthier computes the score itself.
with open(Path(trial["folder"], "predictions.csv"), "w", newline="", encoding="utf-8") as file:
    answers = csv.writer(file)
    answers.writerow(model.classes_)
    answers.writerows(model.predict_proba(valid))
