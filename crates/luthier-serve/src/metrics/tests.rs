use super::to_prometheus;

#[test]
fn the_older_format_names_counters_as_their_samples() {
    let open = "# HELP a Of a.\n# TYPE a counter\na_total{x=\"# TYPE\"} 1\n\
                # HELP b_seconds Of b.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                b_seconds_sum 0.5\n# TYPE c gauge\nc 1\n# EOF\n";
    let plain = "# HELP a_total Of a.\n# TYPE a_total counter\na_total{x=\"# TYPE\"} 1\n\
                 # HELP b_seconds Of b.\n# TYPE b_seconds histogram\n\
                 b_seconds_sum 0.5\n# TYPE c gauge\nc 1\n";
    assert_eq!(to_prometheus(open), plain);
}
