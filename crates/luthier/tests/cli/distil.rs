//! Students of a teacher.

use luthier_test::assert_close;

use crate::{Desk, MOODS, csv, rows};

const STUDENT: &str = r#"name = "student"
task = "text-classification"

[data]
train = "few.csv"
valid = "valid.csv"
test = "test.csv"
text = "text"
label = "label"

[distill]
teacher = "../job/run/bundle"
unlabelled = "train.csv"
augment = 3

[tune]
learners = ["embedding"]
trials = 3
workers = 2
"#;

/// A desk whose job is done on many rows, with one in `student` that has few.
fn desk() -> Desk {
    let desk = Desk::with_bundle();
    desk.write("student/luthier.toml", STUDENT);
    desk.write("student/few.csv", csv(&rows(&MOODS, 16, 9)));
    for (part, count, seed) in [("train", 240, 1), ("valid", 80, 2), ("test", 400, 3)] {
        desk.write(&format!("student/{part}.csv"), csv(&rows(&MOODS, count, seed)));
    }
    desk
}

#[test]
fn a_teacher_makes_up_for_few_labels() {
    let desk = desk();
    let outcome = desk.luthier(&["run", "student"]);
    // 16 rows, three texts made of each, and 240 without labels.
    assert!(outcome.err.contains("teach     304 rows answered by mood"), "{}", outcome.err);
    assert!(outcome.err.contains("better than alone"), "{}", outcome.err);
    outcome.ok();
    let report = desk.json("student/run/report.json");
    let models = report["distillation"]["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mood", "student alone", "student distilled"]);
    let score = |place: usize| models[place]["score"]["value"].as_f64().unwrap();
    assert!(score(2) > score(1) + 0.05 && score(0) + 0.05 > score(2), "{models:?}");
    let gained = models[1]["difference"]["value"].as_f64().unwrap();
    assert_close(gained, score(2) - score(1), 1e-9, "gain");
    assert!(models[1]["p_value"].as_f64().unwrap() < 0.01);
    assert_eq!(report["headline"]["test_openings"], 1);

    // Neither the teacher nor the test split is asked again.
    let again = desk.luthier(&["run", "student"]);
    assert!(!again.err.contains("teach "), "{}", again.err);
    assert_eq!(desk.json("student/run/report.json")["headline"]["test_openings"], 1);
}

#[test]
fn answers_go_on_where_they_were_cut_off() {
    let desk = desk();
    desk.luthier(&["tune", "student", "--trials", "1"]).ok();
    let whole = desk.read("student/run/lessons.f32");
    assert_eq!(whole.len(), 65 + 304 * 2 * 4);
    // In the middle of an answer.
    desk.write("student/run/lessons.f32", &whole[..65 + 150 * 8 + 5]);
    desk.luthier(&["tune", "student", "--trials", "1"]).ok();
    assert!(desk.read("student/run/lessons.f32") == whole);
    // Those of other lessons are of no use.
    let toml = STUDENT.replace("augment = 3", "augment = 2");
    desk.write("student/luthier.toml", toml);
    desk.luthier(&["tune", "student", "--trials", "1"]).ok();
    assert_eq!(desk.read("student/run/lessons.f32").len(), 65 + 288 * 2 * 4);
}

#[test]
fn folds_learn_nothing_of_the_rows_that_they_are_judged_by() {
    let desk = desk();
    let toml =
        STUDENT.replace("few.csv", "train.csv").replace("valid = \"valid.csv\"\n", "folds = 3\n");
    // Labels by chance, and a teacher that knows no better: copies of a row would tell its label.
    let blind: String = (0..120)
        .map(|n| format!("\"word{n} and word{n}\",{}\n", ["bad", "good"][n * 7 % 5 % 2]))
        .collect();
    desk.write("student/train.csv", format!("text,label\n{blind}"));
    desk.write(
        "student/luthier.toml",
        toml.replace("unlabelled = \"train.csv\"\n", "").replace("augment = 3", "augment = 8"),
    );
    desk.luthier(&["run", "student"]).ok();
    let report = desk.json("student/run/report.json");
    let valid = report["evaluation"]["metrics"].as_array().unwrap();
    let auc = valid.iter().find(|metric| metric["name"] == "roc_auc").unwrap();
    let auc = auc["valid"]["value"].as_f64().unwrap();
    assert!((0.3..0.7).contains(&auc), "{auc}");
}

#[test]
fn tables_have_teachers_too() {
    let desk = Desk::empty();
    let job = "name = \"big\"\ntask = \"tabular-classification\"\n[data]\ntrain = \"train.csv\"\nsplit = \
               { valid = 0.2, test = 0.2 }\nlabel = \"y\"\n[tune]\ntrials = 2\n";
    // The teacher's columns come in another order, and one is not there.
    let (mut big, mut small) = ("spare,b,a,y\n".to_owned(), "a,b,spare,y\n".to_owned());
    for row in 0..800u64 {
        let noise = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let (a, b) = (noise % 100, ["x", "y", "z"][(noise % 3) as usize]);
        let y = ["no", "yes"][usize::from((a > 50) ^ (b == "z"))];
        big += &format!("{},{b},{a},{y}\n", row % 5);
        if row < 150 {
            small += &format!("{a},{b},{},{y}\n", row % 7);
        }
    }
    desk.write("big/train.csv", big);
    desk.write(
        "big/luthier.toml",
        job.replace("label", "ignore = [\"spare\"]\nlabel") + "learners = [\"boosted-trees\"]\n",
    );
    desk.luthier(&["run", "big"]).ok();
    desk.write("small/train.csv", small);
    let distill = "[distill]\nteacher = \"../big/run/bundle\"\n[tune]";
    desk.write("small/luthier.toml", job.replace("big", "small").replace("[tune]", distill));
    let outcome = desk.luthier(&["run", "small"]);
    assert!(outcome.err.contains("teacher"), "{}", outcome.err);
    outcome.ok();
    let manifest = desk.json("small/run/bundle/manifest.json");
    // Of the learners of tables only this one can be a student.
    assert_eq!(manifest["lineage"]["trial"]["values"]["learner"], "mlp");
    assert!(manifest["lineage"]["trial"]["values"]["mlp.teacher_share"].is_number());
}

#[test]
fn teachers_that_do_not_fit_are_refused() {
    let desk = desk();
    let refused = |from: &str, to: &str, complaint: &str| {
        assert!(STUDENT.contains(from));
        desk.write("student/luthier.toml", STUDENT.replace(from, to));
        desk.luthier(&["run", "student"]).fails(2, complaint);
    };
    refused(
        "../job/run/bundle",
        "../nothing",
        "error: `distill.teacher`: student/../nothing is no bundle: there is no such file or folder",
    );
    refused(
        "augment = 3",
        "augment = 5000",
        "error: student/luthier.toml: `distill.augment` is 5000\n \
         hint: it is the number of texts made of each training text, up to 1000",
    );
    let others = csv(&rows(&crate::TOPICS, 40, 1));
    for part in ["few", "valid", "test"] {
        desk.write(&format!("student/{part}.csv"), &others);
    }
    refused(
        "augment = 3",
        "augment = 4",
        "error: `distill.teacher`: it does not know the label `food`\n hint: it knows bad, good",
    );
}
