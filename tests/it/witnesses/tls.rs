use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tonic::Code;

use super::{Site, append, await_metric, failures};
use crate::binary_harness::{Served, data_of, program};

/// A proxy with a certificate in front of a witness, as whoever runs one has.
struct Proxy {
    address: SocketAddr,
    /// Its certificate, as a file of those to be trusted.
    trusted: PathBuf,
}

impl Proxy {
    /// Its certificate is for this host.
    async fn start(site: &Site, host: &str, witness: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
        let trusted = PathBuf::from(site.path(&format!("{host}.pem")));
        let der = BASE64_STANDARD.encode(cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        std::fs::write(&trusted, pem).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let (listener, acceptor) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)));
        let (address, witness) = (listener.local_addr().unwrap(), witness.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, witness) = (acceptor.clone(), witness.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate goes away.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut witness = TcpStream::connect(witness).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut witness).await);
                });
            }
        });
        Self { address, trusted }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// A server that trusts these certificates, and no other.
fn server(site: &Site, dir: TempDir, url: &str, trusted: &PathBuf) -> Served {
    let words = site.words(&data_of(&dir), &[("one", url)], 1);
    Served::spawn(dir, program().args(words).env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_behind_a_certificate_cosigns_where_it_is_trusted_and_is_not_asked_where_it_is_not() {
    let site = Site::new();
    let one = site.witness("one");
    let proxy = Proxy::start(&site, "127.0.0.1", &one.address).await;
    let of_another_host = Proxy::start(&site, "witness.example.org", &one.address).await;

    let server_of = |dir, proxy: &Proxy, trusted| server(&site, dir, &proxy.url(), trusted);
    let served = server_of(tempfile::tempdir().unwrap(), &proxy, &proxy.trusted);
    let clients = served.clients().await;
    let mut size = 0;
    for name in ["a", "b", "c"] {
        size = append(&clients, name).await;
        let published = site.checkpoint(&clients, Some(size)).await.unwrap();
        assert_eq!((published.witnesses, published.witnessed), (vec!["one".into()], true));
    }
    drop(clients);
    let mut dir = served.stop();

    // A certificate that nobody vouches for, and one that is for somebody else.
    let refusals = [
        (&proxy, &of_another_host.trusted, "invalid peer certificate"),
        (
            &of_another_host,
            &of_another_host.trusted,
            "invalid peer certificate: certificate not valid for name",
        ),
    ];
    for (n, (proxy, trusted, why)) in refusals.into_iter().enumerate() {
        let served = server_of(dir, proxy, trusted);
        let clients = served.clients().await;
        let newer = append(&clients, &format!("d{n}")).await;
        let refused = site.checkpoint(&clients, Some(newer)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        await_metric(&served, &failures("one", "unreachable"));
        assert!(served.log().contains(why), "{}", served.log());
        assert_eq!(site.checkpoint(&clients, None).await.unwrap().size, size);
        drop(clients);
        dir = served.stop();
    }
    server_of(dir, &proxy, &proxy.trusted).check().await;
}
