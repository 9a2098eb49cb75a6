use std::fs;
use std::time::{Duration, SystemTime};

use luthier_test::Scratch;

use super::{Fingerprint, Labels, scan};

#[test]
fn versions_are_folders_with_numbers() {
    let scratch = Scratch::new();
    let base = scratch.path();
    for folder in ["a/1", "a/20", "a/x", "a/.3.partial", "b/7", "c/x", ".d/1", "e:e/1", "f"] {
        fs::create_dir_all(base.join(folder)).unwrap();
    }
    scratch.write("a/5", "a file");
    scratch.write("g", "a file");
    let found = scan(base);
    assert!(found.problems.is_empty());
    let versions = |index: usize| found.models[index].versions.keys().copied().collect::<Vec<_>>();
    let names: Vec<&str> = found.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((versions(0), versions(1)), (vec![1, 20], vec![7]));
    assert_eq!(found.models[0].versions[&20], base.join("a").join("20"));
    assert_eq!(found.models[0].labels, Some(Labels::new()));
    let absent = scan(&base.join("absent"));
    assert!(absent.models.is_empty() && absent.problems.len() == 1);
}

#[test]
fn labels_are_read() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path().join("a/1")).unwrap();
    let check = |content: &str, expected: Result<&[(&str, i64)], &str>| {
        let path = scratch.write("a/labels.json", content);
        let found = scan(scratch.path());
        let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        let labels = found.models[0].labels.clone();
        match expected {
            Ok(expected) => {
                let expected = expected.iter().map(|(label, v)| ((*label).to_owned(), *v));
                assert_eq!((labels, problems), (Some(expected.collect()), Vec::new()));
            }
            Err(problem) => {
                let problem = format!("{}: {problem}", path.display());
                assert_eq!((labels, problems), (None, vec![problem]));
            }
        }
    };
    check(r#"{"stable": 3, "can_4": 4}"#, Ok(&[("can_4", 4), ("stable", 3)]));
    check("{}", Ok(&[]));
    check("{", Err("EOF while parsing an object at line 1 column 1"));
    check(r#"{"a": "1"}"#, Err("invalid type: string \"1\", expected i64 at line 1 column 9"));
    check(r#"{"a b": 1}"#, Err("`a b` is no label: letters, digits and `_` make one"));
    check(&" ".repeat(70_000), Err("EOF while parsing a value at line 1 column 65536"));
}

#[test]
fn fingerprints_change_with_the_files() {
    let scratch = Scratch::new();
    let path = scratch.write("1/manifest.json", "{}");
    let folder = scratch.path().join("1");
    let first = Fingerprint::of(&folder);
    assert_eq!(Fingerprint::of(&folder), first);
    let later = SystemTime::now() + Duration::from_secs(7);
    fs::File::open(&path).unwrap().set_modified(later).unwrap();
    let second = Fingerprint::of(&folder);
    assert_ne!(second, first);
    scratch.write("1/model.onnx", "");
    assert_ne!(Fingerprint::of(&folder), second);
    assert_eq!(Fingerprint::of(&scratch.path().join("2")), Fingerprint::default());
}
