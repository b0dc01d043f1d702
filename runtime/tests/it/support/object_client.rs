//! Reaches the objects of a store as other programs do: with a client that shares no code with the program under test
//! but the library `object_store`.

use std::sync::Arc;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, StaticCredentialProvider,
};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, Result,
};
use reqwest::{Body, Client, Request};

/// A bucket of a store.
pub(crate) type Bucket = Arc<dyn ObjectStore>;

/// Returns a bucket of an S3 server.
pub(crate) fn s3(endpoint: &str, bucket: &str, (key_id, secret): (&str, &str)) -> Bucket {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region("us-east-1")
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_access_key_id(key_id)
        .with_secret_access_key(secret)
        .with_http_connector(PlainHttp::new());
    Arc::new(builder.build().unwrap())
}

/// Returns a bucket of a server with Google's interface.
pub(crate) fn gcs(endpoint: &str, bucket: &str, token: &str) -> Bucket {
    let credential = GcpCredential {
        bearer: token.to_owned(),
    };
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_base_url(endpoint)
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_http_connector(PlainHttp::new());
    Arc::new(builder.build().unwrap())
}

/// Checks that a store lets only one of several clients create an object. Without this, no test of a commit says
/// anything about the program.
pub(crate) async fn check_creates(bucket: Bucket) {
    for round in 0..20 {
        let key = Path::from(format!("creates/{round}"));
        let creates = (0..12).map(|client| {
            let (bucket, key) = (Arc::clone(&bucket), key.clone());
            tokio::spawn(async move {
                let payload = PutPayload::from(format!("client {client}"));
                let put = bucket.put_opts(&key, payload, PutOptions::from(PutMode::Create));
                (client, put.await)
            })
        });
        let mut winners = Vec::new();
        for create in creates.collect::<Vec<_>>() {
            match create.await.unwrap() {
                (client, Ok(_)) => winners.push(client),
                (_, Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {}
                (_, Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let found = bucket.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(found, format!("client {}", winners[0]));
    }
}

/// A plain HTTP client.
#[derive(Debug, Clone)]
pub(crate) struct PlainHttp(Client);

impl PlainHttp {
    pub(crate) fn new() -> Self {
        // If another test has installed the provider already, this fails and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(Client::builder().no_proxy().build().unwrap())
    }
}

impl HttpConnector for PlainHttp {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for PlainHttp {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let failed = |error: reqwest::Error| HttpError::new(HttpErrorKind::Unknown, error);
        let (head, body) = request.into_parts();
        let mut request = Request::new(head.method, head.uri.to_string().parse().unwrap());
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(Body::wrap(body));
        let answer = self.0.execute(request).await.map_err(failed)?;
        let (head, body) = http::Response::<Body>::from(answer).into_parts();
        let body = HttpResponseBody::new(body.map_err(failed));
        Ok(HttpResponse::from_parts(head, body))
    }
}
