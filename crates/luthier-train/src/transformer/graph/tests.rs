use std::path::Path;

use luthier_nn::{Activation, EncoderConfig, Linear, Pooling, SequenceClassifier};
use luthier_pretrained::Pretrained;

use super::{ExportError, check_size, graph, weight_bytes};

#[test]
fn weights_are_counted_before_there_are_any() {
    for layout in ["bert", "distilbert", "roberta", "xlm-roberta"] {
        let folder = Path::new("../luthier-pretrained/tests/fixtures").join(layout);
        let Pretrained { encoder, tokens, .. } = Pretrained::open(&folder).unwrap();
        let hidden = encoder.config.hidden;
        let counted = weight_bytes(&encoder.config, 3);
        let head = Linear { weights: vec![0.0; 3 * hidden], bias: vec![0.0; 3] };
        let classifier = SequenceClassifier { encoder, pooling: Pooling::Mean, head };
        let graph = graph(classifier, &tokens.settings().inputs);
        let written = graph.weight_bytes() as u64;
        // The row of another sentence type less, a few small constants more.
        assert!(written.abs_diff(counted) < 400, "{layout}: {written} written, {counted} counted");
    }
}

#[test]
fn what_no_file_holds_is_told_before() {
    let xlm_roberta = |hidden, layers| EncoderConfig {
        vocabulary: 250_002,
        hidden,
        layers,
        heads: hidden / 64,
        intermediate: 4 * hidden,
        positions: 514,
        first_position: 2,
        types: 1,
        activation: Activation::Gelu,
        epsilon: 1e-5,
        dropout: 0.1,
        attention_dropout: 0.1,
    };
    assert_eq!(check_size(&xlm_roberta(768, 12), 3), Ok(()));
    let large = check_size(&xlm_roberta(1024, 24), 3);
    assert!(matches!(large, Err(ExportError::TooLarge { bytes: 2_235_000_000.. })), "{large:?}");
    let absurd = check_size(&xlm_roberta(1 << 31, 1 << 31), 3);
    assert_eq!(absurd, Err(ExportError::TooLarge { bytes: u64::MAX }));
}
