//! The server of a database, and how connections to it are protected.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use postgres::config::SslMode;
use postgres::{Client, Config, NoTls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where to connect, and how.
pub(super) struct Server {
    config: Config,
    /// What encrypts connections, if they are.
    tls: Option<MakeRustlsConnect>,
}

impl Server {
    /// The server that an address names; or what is wrong with the address.
    pub(super) fn of(url: &str) -> Result<Self, String> {
        let (url, protection) = split(url)?;
        let mut config: Config = url.parse().map_err(|error: postgres::Error| detail(&error))?;
        config.application_name("luthier");
        config.keepalives_idle(Duration::from_secs(30));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        let tls = protection.client()?.map(MakeRustlsConnect::new);
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls })
    }

    pub(super) fn connect(&self) -> Result<Client, postgres::Error> {
        let mut client = match &self.tls {
            None => self.config.connect(NoTls)?,
            Some(tls) => self.config.connect(tls.clone())?,
        };
        // The server lets go of what a vanished machine has locked after about a minute.
        client.batch_execute(
            "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; \
             SET tcp_keepalives_count = 3; SET client_min_messages = warning",
        )?;
        Ok(client)
    }
}

/// What an error of the client says, with its cause.
pub(super) fn detail(error: &postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// How connections are protected: `sslmode` and `sslrootcert` of an address, as in libpq.
#[derive(Debug, PartialEq, Eq)]
enum Protection {
    /// Not at all.
    None,
    /// Encrypted, to whoever answers.
    Encrypted,
    /// Encrypted, to the host of the address, by a certificate that leads to one of this file or of
    /// the system.
    Verified(Option<String>),
}

/// Takes out of an address what it says of protection.
fn split(url: &str) -> Result<(String, Protection), String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut rest) = ("disable".to_owned(), None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || percent_decode_str(value).decode_utf8_lossy().into_owned();
        match key {
            "sslmode" => mode = value(),
            "sslrootcert" => roots = Some(value()),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    let protection = match (mode.as_str(), roots) {
        ("verify-full", roots) => Protection::Verified(roots),
        (_, Some(_)) => return Err("sslrootcert is given without sslmode=verify-full".to_owned()),
        ("disable", None) => Protection::None,
        ("require", None) => Protection::Encrypted,
        _ => {
            return Err(format!("sslmode is `{mode}`; it must be disable, require or verify-full"));
        }
    };
    Ok((url, protection))
}

impl Protection {
    fn client(self) -> Result<Option<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::None => return Ok(None),
            Self::Encrypted => Arc::new(Anyone(Arc::clone(&provider))),
            Self::Verified(file) => {
                let roots = Arc::new(roots(file.as_deref())?);
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|error| error.to_string())?
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Some(config.with_no_client_auth()))
    }
}

/// The certificates that are trusted: those of a file, or of the system.
fn roots(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err("this system has no certificates; name a file in sslrootcert".to_owned()),
            false => Ok(roots),
        };
    };
    let fail = |error: &dyn std::fmt::Display| format!("sslrootcert `{file}`: {error}");
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| fail(&error))? {
        let certificate = certificate.map_err(|error| fail(&error))?;
        roots.add(certificate).map_err(|error| fail(&error))?;
    }
    match roots.is_empty() {
        true => Err(fail(&"there is no certificate in it")),
        false => Ok(roots),
    }
}

/// Takes any certificate, for connections that are encrypted without a word on who answers.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Protection, split};

    #[test]
    fn addresses_say_how_connections_are_protected() {
        let is = |url: &str, rest: &str, protection: Protection| {
            assert_eq!(split(url), Ok((rest.to_owned(), protection)), "{url}");
        };
        is("postgres://h/d", "postgres://h/d", Protection::None);
        is("postgres://h/d?sslmode=disable", "postgres://h/d", Protection::None);
        let timed = "postgres://h/d?connect_timeout=3";
        is(&format!("{timed}&sslmode=require"), timed, Protection::Encrypted);
        let verified = "postgres://h/d?sslmode=verify-full";
        is(verified, "postgres://h/d", Protection::Verified(None));
        let own = Protection::Verified(Some("/my certs/ca.pem".to_owned()));
        is(&format!("{verified}&sslrootcert=/my%20certs%2Fca.pem"), "postgres://h/d", own);
        for (query, fault) in [
            ("sslmode=prefer", "sslmode is `prefer`; it must be disable, require or verify-full"),
            ("sslmode=require&sslrootcert=x", "sslrootcert is given without sslmode=verify-full"),
        ] {
            assert_eq!(split(&format!("postgres://h/d?{query}")), Err(fault.to_owned()));
        }
    }
}
