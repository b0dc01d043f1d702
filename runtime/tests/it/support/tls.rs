//! TLS for tests: a certificate authority for one test, its certificate for this machine, and an HTTPS server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// A certificate authority with its files in PEM format: `ca.pem` for clients, and `cert.pem` and `key.pem` for a
/// server on `localhost`.
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a certificate");
        let server_key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let issuer = Issuer::new(params, key);
        let server = server.signed_by(&server_key, &issuer).expect("a certificate");
        for (name, text) in [
            ("ca.pem", ca.pem()),
            ("cert.pem", server.pem()),
            ("key.pem", server_key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a server that sends the same answer to each request. Returns the server's port, and a list to which the
    /// head of each request is added.
    pub(crate) fn serve(&self, answer: Vec<u8>) -> (u16, Arc<Mutex<Vec<String>>>) {
        let certificate = CertificateDer::from_pem_file(self.path("cert.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let server = ServerConnection::new(Arc::clone(&config)).expect("a session");
                let mut stream = BufReader::new(StreamOwned::new(server, connection));
                let mut head = String::new();
                // A client that does not trust the certificate sends nothing, so the loop also ends at the end of the
                // data.
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|bytes| bytes > 0)
                {
                }
                if head.is_empty() {
                    continue;
                }
                seen.lock().expect("unpoisoned").push(head);
                let stream = stream.get_mut();
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        (port, heads)
    }
}
