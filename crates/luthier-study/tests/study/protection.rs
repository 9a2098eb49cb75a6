//! Connections to a database that are encrypted.

use luthier_study::{Locator, Study, StudyError};
use luthier_test::Postgres;

use crate::{objective, run, spec};

#[test]
fn connections_are_encrypted_and_hosts_verified_as_the_address_says() {
    let Some(server) = Postgres::start_encrypted() else { return };
    let certificate = server.certificate().display().to_string();
    let open = |host: &str, options: &str| {
        let locator: Locator = format!("{}{options}", server.url_at(host)).parse().unwrap();
        Study::open(locator, &spec()).map_err(|error| match error {
            StudyError::Database { detail, .. } => detail,
            other => panic!("{other}"),
        })
    };
    let verified = format!("?sslmode=verify-full&sslrootcert={certificate}");
    for (host, options) in [("127.0.0.1", "?sslmode=require"), ("localhost", &verified)] {
        let study = open(host, options).unwrap();
        study.run(&run(4, 2), &objective, &|_| {}).unwrap();
        assert_eq!(study.trials().len(), 4);
    }
    let refused = |host: &str, options: &str, wanted: &str| {
        let detail = open(host, options).err().expect("an error");
        assert!(detail.contains(wanted), "{options}: {detail}");
    };
    refused("127.0.0.1", "", "no encryption");
    refused("127.0.0.1", "?sslmode=disable", "no encryption");
    refused("127.0.0.1", &verified, "certificate not valid for name");
    refused("localhost", "?sslmode=verify-full&sslrootcert=/no/such", "sslrootcert `/no/such`: ");
    let key = certificate.replace(".crt", ".key");
    let no_certificate = format!("?sslmode=verify-full&sslrootcert={key}");
    refused("localhost", &no_certificate, "there is no certificate in it");
    // Nobody whom the system trusts has signed it, or the system trusts nobody.
    let detail = open("localhost", "?sslmode=verify-full").err().expect("an error");
    assert!(detail.contains("UnknownIssuer") || detail.contains("has no certificates"), "{detail}");

    let Some(plain) = Postgres::start() else { return };
    let locator: Locator = format!("{}?sslmode=require", plain.url()).parse().unwrap();
    let error = Study::open(locator, &spec()).err().expect("an error").to_string();
    assert!(error.contains("server does not support TLS"), "{error}");
}
