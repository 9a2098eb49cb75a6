use super::*;

fn trials(states: &[State]) -> Vec<Trial> {
    let trial = |(number, &state): (usize, &State)| Trial {
        state,
        steps: vec![(1, 0.5).into()],
        ..Trial::running(number as u64, [("x", number as i64)].into_iter().collect())
    };
    states.iter().enumerate().map(trial).collect()
}

#[test]
fn pending_trials_are_reduced_to_their_values() {
    use State::{Complete, Failed, Running};
    let cases = [
        (None, 4, vec![Complete, Complete, Failed, Running], 4),
        (Some(0), 3, vec![Complete, Complete, Failed], 3),
        (Some(2), 4, vec![Complete, Complete, Running, Running], 2),
        (Some(9), 3, vec![Running, Running, Running], 0),
    ];
    for (lag, number, expected, settled) in cases {
        let before = trials(&[Complete, Complete, Failed, Running, Complete]);
        let mut trials = before.clone();
        let view = View { number, lag };
        let seen = view.pending(&mut trials, <[Trial]>::to_vec);
        let states: Vec<State> = seen.iter().map(|trial| trial.state).collect();
        assert_eq!(states, expected, "{view:?}");
        for (place, (seen, before)) in seen.iter().zip(&before).enumerate() {
            assert_eq!(seen.values, before.values);
            assert_eq!(seen.steps.is_empty(), place >= settled, "{view:?} trial {place}");
        }
        assert_eq!(trials, before, "{view:?} puts the list back");
    }
}

#[test]
fn steps_are_compared_with_settled_trials_only() {
    let trials = trials(&[State::Complete; 5]);
    let count = |number, lag| View { number, lag }.finished(&trials).len();
    assert_eq!(
        [count(3, None), count(3, Some(0)), count(3, Some(2)), count(1, Some(2))],
        [5, 3, 1, 0]
    );
    assert_eq!(View { number: 7, lag: Some(2) }.settled_before(), 5);
}
